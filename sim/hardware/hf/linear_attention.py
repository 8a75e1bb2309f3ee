"""Linear attention: one state of keys by values per head, which every token updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from continuum_sim.hardware.caches import CacheLayers, Scan, State
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.heads import common_heads
from continuum_sim.hardware.hf.states import state_bytes
from continuum_sim.hardware.weights import FP32, Weight

_DELTA_CHUNK: Final = 64
"""`FLA_CHUNK_SIZE` of vllm/third_party/flash_linear_attention/ops/utils.py."""

_LIGHTNING_CHUNK: Final = 256
"""`BLOCK` of vllm/model_executor/layers/lightning_attn.py."""


def gated_delta(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return states and weights of gated delta nets (Qwen3-Next and 3.5, OLMo Hybrid)."""
    hidden, where = fields.count("hidden_size"), tuple(layers)
    n_heads = fields.count("num_attention_heads")
    n_keys = fields.count("linear_num_key_heads", default=n_heads)
    n_values = fields.count("linear_num_value_heads", default=n_heads)
    key = fields.count("linear_key_head_dim", default=3 * hidden // (4 * n_keys))  # as in OLMo's class
    value = fields.count("linear_value_head_dim", default=2 * key)
    kernel = fields.count("linear_conv_kernel_dim", default=4)
    keys, values, at = n_keys * key, n_values * value, "model.layers.{}.linear_attn."
    mixed = 2 * keys + values
    weights = [
        Weight(f"{at}in_proj_qkvz", mixed + values, hidden, where, parts=n_keys),
        Weight(f"{at}in_proj_ba", 2 * n_values, hidden, where, parts=n_keys),
        Weight(f"{at}conv1d", mixed, kernel, where, parts=n_keys),
        Weight(f"{at}out_proj", hidden, values, where, parts=n_values),
        Weight(f"{at}A_log", n_values, layers=where, parts=n_values, use="vector", stored=FP32),
        Weight(f"{at}dt_bias", n_values, layers=where, parts=n_values, use="vector"),
        Weight(f"{at}norm", value, layers=where, use="vector"),
    ]
    conv, temporal = state_bytes(fields)
    states = (State((kernel - 1, mixed), 1, conv), State((n_values, value, key), 0, temporal))
    return [CacheLayers("recurrent", where, states=states, scan=Scan("delta", _DELTA_CHUNK, n_keys))], weights


def kimi_delta(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return states and weights of Kimi's delta attention (KDA, also in Bailing 3), with full- or low-rank gates."""
    hidden, where = fields.count("hidden_size"), tuple(layers)
    linear = fields.part("linear_attn_config") or fields
    n_heads, head_dim = linear.count("num_heads", "num_attention_heads"), linear.count("head_dim")
    kernel = linear.count("short_conv_kernel_size", default=4)
    inner, at = n_heads * head_dim, "model.layers.{}.self_attn."

    def of_heads(name: str, rows: int, columns: int) -> Weight:
        return Weight(at + name, rows, columns, where, parts=n_heads)

    def exact(name: str, rows: int, columns: int = 1) -> Weight:
        return Weight(at + name, rows, columns, where, parts=n_heads, use="vector", stored=FP32)

    weights = [of_heads(name, inner, hidden) for name in ("q_proj", "k_proj", "v_proj")]
    weights += [
        of_heads("b_proj", n_heads, hidden),
        of_heads("o_proj", hidden, inner),
        exact("conv1d", 3 * inner, kernel),
        exact("A_log", n_heads),
        exact("dt_bias", inner),
        Weight(f"{at}o_norm", head_dim, layers=where, use="vector"),
    ]
    full = linear.flag("no_kda_lora")
    for name, of_full_rank in (("f", full), ("g", full or linear.flag("use_full_rank_gate"))):
        if of_full_rank:
            weights.append(of_heads(f"{name}_proj", inner, hidden))
        else:
            weights.append(Weight(f"{at}{name}_a_proj", head_dim, hidden, where))
            weights.append(of_heads(f"{name}_b_proj", inner, head_dim))
    states = (State((kernel - 1, 3 * inner), 1), State((n_heads, head_dim, head_dim), 0, element_bytes=4))
    return [CacheLayers("recurrent", where, states=states, scan=Scan("delta", _DELTA_CHUNK, n_heads))], weights


def lightning(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return states and weights of lightning attention (Bailing 2.5), in which every head has its own keys."""
    hidden, where, heads = fields.count("hidden_size"), tuple(layers), common_heads(fields)
    n_heads, head_dim, at = heads.n_heads, heads.head_dim, "model.layers.{}.self_attn."
    inner = n_heads * head_dim
    weights = [
        Weight(f"{at}query_key_value", 3 * inner, hidden, where, parts=n_heads),
        Weight(f"{at}g_proj", inner, hidden, where, parts=n_heads),
        Weight(f"{at}dense", hidden, inner, where, parts=n_heads),
        Weight(f"{at}g_norm", inner, layers=where, parts=n_heads, use="vector"),
    ]
    if fields.flag("use_bias") or fields.flag("use_qkv_bias"):
        weights.append(Weight(f"{at}query_key_value.bias", 3 * inner, layers=where, parts=n_heads, use="vector"))
    if fields.flag("use_bias"):
        weights.append(Weight(f"{at}dense.bias", hidden, layers=where, use="vector"))
    if fields.flag("use_qk_norm"):
        weights.append(Weight(f"{at}layernorm", 2 * head_dim, layers=where, use="vector"))
    states = (State((n_heads, head_dim, head_dim), 0),)
    return [CacheLayers("recurrent", where, states=states, scan=Scan("linear", _LIGHTNING_CHUNK, n_heads))], weights
