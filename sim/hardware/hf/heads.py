"""Layout of attention heads, which may differ between layers, and whose keys and values are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.layer_types import Mixer
from continuum_sim.hardware.hf.layout import block_config


@dataclass(frozen=True)
class Heads:
    """The heads of one layer."""

    n_heads: int
    """Query heads."""
    n_kv_heads: int
    head_dim: int
    """Elements of a key."""
    value_dim: int | None = None
    """Elements of a value; None: as many as a key."""


def heads_of(fields: Fields, layer: int, mixer: Mixer) -> Heads:
    """Return the heads of a layer with the given mixer.

    Raises
    ------
    ConfigError
        If a count is missing or impossible.
    """
    read = _LAYOUTS.get(fields.model_type)
    return common_heads(fields) if read is None else read(fields, layer, mixer)


def common_heads(fields: Fields) -> Heads:
    """Return the heads given by the usual fields.

    Raises
    ------
    ConfigError
        If a count is missing or impossible.
    """
    n_heads = fields.count("num_attention_heads")
    n_kv_heads = _ONE_FOR_ALL[fields.model_type](fields, n_heads) if fields.model_type in _ONE_FOR_ALL else None
    return _heads(fields, n_heads, n_kv_heads)


def shares_kv(fields: Fields, layer: int, n_layers: int) -> bool:
    """Return True if a layer uses an earlier layer's keys and values: the last layers of Gemma 3n and 4."""
    return layer >= n_layers - fields.count("num_kv_shared_layers", default=0, least=0)


_WITHOUT_HEAD_DIM: Final = ("cohere2", "cohere_compass_text")
"""Types whose class divides the width by the heads, whatever the file says."""


def _heads(fields: Fields, n_heads: int, n_kv_heads: int | None = None, head_dim: int | None = None) -> Heads:
    if n_kv_heads is None:
        names = ("num_key_value_heads", "num_kv_heads", "n_head_kv", "num_attention_groups", "multi_query_group_num")
        n_kv_heads = fields.count(*names, default=n_heads)
    if n_heads % n_kv_heads:
        raise fields.error("num_key_value_heads", n_kv_heads, f"a divisor of num_attention_heads ({n_heads})")
    if head_dim is None:
        head_dim = fields.count("hidden_size", default=1) // n_heads
        if fields.model_type not in _WITHOUT_HEAD_DIM:
            head_dim = fields.count("head_dim", "attention_head_dim", "hidden_size_per_head", default=head_dim)
    return Heads(n_heads, n_kv_heads, head_dim)


def _falcon(fields: Fields, n_heads: int) -> int:
    if not fields.flag("new_decoder_architecture") and fields.flag("multi_query"):
        return 1
    return fields.count("num_kv_heads", "n_head_kv", default=n_heads)


def _multi_query(fields: Fields, n_heads: int) -> int:
    return 1 if fields.flag("multi_query", default=True) else n_heads


def _chatglm(fields: Fields, n_heads: int) -> int:
    return fields.count("multi_query_group_num", default=1) if fields.flag("multi_query_attention") else n_heads


def _dbrx(fields: Fields, n_heads: int) -> int:
    attention = fields.part("attn_config")
    return n_heads if attention is None else attention.count("kv_n_heads", default=n_heads)


_ONE_FOR_ALL: Final[Mapping[str, Callable[[Fields, int], int]]] = {
    "RefinedWeb": _falcon,
    "RefinedWebModel": _falcon,
    "chatglm": _chatglm,
    "dbrx": _dbrx,
    "falcon": _falcon,
    "gpt_bigcode": _multi_query,
}
"""Types that give the number of KV heads in another way."""


def _gemma4(fields: Fields, _layer: int, mixer: Mixer) -> Heads:
    n_heads = fields.count("num_attention_heads")
    if mixer == "sliding":
        return _heads(fields, n_heads)
    n_kv_heads = None
    if fields.flag("attention_k_eq_v") and fields.get("num_global_key_value_heads") is not None:
        n_kv_heads = fields.count("num_global_key_value_heads")
    return _heads(fields, n_heads, n_kv_heads, fields.count("global_head_dim", default=512))


def _mimo_v2(fields: Fields, _layer: int, mixer: Mixer) -> Heads:
    at = "swa_" if mixer == "sliding" else ""
    n_heads = fields.count(f"{at}num_attention_heads", "num_attention_heads")
    n_kv_heads = fields.count(f"{at}num_key_value_heads", "num_key_value_heads", default=n_heads)
    head_dim = fields.count(f"{at}head_dim", "head_dim")
    return Heads(n_heads, n_kv_heads, head_dim, fields.count(f"{at}v_head_dim", default=head_dim))


def _nas(fields: Fields, layer: int, _mixer: Mixer) -> Heads:
    n_heads, group = (
        fields.count("num_attention_heads"),
        block_config(fields, layer, "attention").get("n_heads_in_group"),
    )
    if isinstance(group, bool) or not isinstance(group, int) or group < 1 or n_heads % group:
        raise fields.error(f"n_heads_in_group of layer {layer}", group, f"a divisor of {n_heads}, the query heads")
    return _heads(fields, n_heads, n_heads // group)


def _laguna(fields: Fields, layer: int, _mixer: Mixer) -> Heads:
    each = fields.each("num_attention_heads_per_layer")
    return _heads(fields, fields.count("num_attention_heads") if each is None else each[layer])


def _step3p5(fields: Fields, layer: int, mixer: Mixer) -> Heads:
    other = fields.part("attention_other_setting")
    if mixer != "sliding" or other is None:
        return _heads(fields, fields.count("num_attention_heads"))
    n_heads = other.count("num_attention_heads")
    return _heads(fields, n_heads, other.count("num_attention_groups"), other.count("head_dim", default=128))


_LAYOUTS: Final[Mapping[str, Callable[[Fields, int, Mixer], Heads]]] = {
    "gemma4_text": _gemma4,
    "gemma4_unified_text": _gemma4,
    "laguna": _laguna,
    "mimo_v2": _mimo_v2,
    "mimo_v2_flash": _mimo_v2,
    "nemotron-nas": _nas,
    "step3p5": _step3p5,
}
"""Types whose layers differ."""
