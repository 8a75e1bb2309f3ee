"""Latent attention (MLA): one vector per token represents the keys and values of all heads.

vLLM 0.32 keeps that vector, whole on every rank of tensor parallelism; sparse attention (DeepSeek V3.2)
also keeps one for the indexer that chooses the tokens to attend to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from continuum_sim.hardware.caches import CacheLayers, Latent
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import FP32, Weight

_SPARSE_FP8_TOKEN_BYTES = 656
"""Sparse attention in an fp8 cache (`fp8_ds_mla`): 512 elements, 4 scales in fp32, 64 rotary elements in bf16."""

_INDEXER_BLOCK = 128
"""Elements of an indexer's key that share a scale in fp32; the elements are fp8, whatever the cache's type."""


@dataclass(frozen=True)
class _Shape:
    """Dimensions of a layer's projections."""

    n_heads: int
    latent: int
    rotary: int
    """Elements of a key that carry positions, which all heads share."""
    plain: int
    """Elements of a key that do not."""
    value: int
    query_latent: int | None

    @classmethod
    def of(cls, fields: Fields) -> _Shape:
        query = fields.get("q_lora_rank")
        return cls(
            n_heads=fields.count("num_attention_heads"),
            latent=fields.count("kv_lora_rank"),
            rotary=fields.count("qk_rope_head_dim"),
            plain=fields.count("qk_nope_head_dim"),
            value=fields.count(
                "v_head_dim", default=None if fields.model_type != "minicpm3" else _minicpm3_value(fields)
            ),
            query_latent=None if query is None else fields.count("q_lora_rank"),
        )


def latent_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of layers that keep the latent vector, and of their indexers."""
    shape, where = _Shape.of(fields), tuple(layers)
    sparse = fields.get("index_topk") is not None
    cache = CacheLayers(
        "mla",
        where,
        shape.n_heads,
        1,
        shape.latent + shape.rotary,
        value_dim=0,
        fp8_state_content_bytes=_SPARSE_FP8_TOKEN_BYTES if sparse else None,
        latent=Latent(shape.latent, shape.rotary, shape.plain, shape.value),
        chosen=fields.count("index_topk") if sparse else None,
    )
    caches, weights = [cache], _projections(fields, shape, where)
    indexed = tuple(layer for layer in layers if sparse and _has_indexer(fields, layer))
    if indexed:
        key = fields.count("index_head_dim", default=128)
        stored = key + key // _INDEXER_BLOCK * 4
        index = CacheLayers(
            *("mla", indexed, 0, 1, stored),
            value_dim=0,
            state_content_bytes=stored,
            index_heads=fields.count("index_n_heads"),
            index_dim=key,
        )
        caches = [index, cache]  # in vLLM's order
        weights += _indexer(fields, shape, indexed, key)
    return caches, weights


def latent_projections(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of layers with latent projections but full heads in vLLM's cache (MiniCPM 3)."""
    shape, where = _Shape.of(fields), tuple(layers)
    cache = CacheLayers("full", where, shape.n_heads, shape.n_heads, shape.rotary + shape.plain)
    return [cache], _projections(fields, shape, where)


def _minicpm3_value(fields: Fields) -> int:
    return fields.count("hidden_size") // fields.count("num_attention_heads")


def _projections(fields: Fields, shape: _Shape, layers: tuple[int, ...]) -> list[Weight]:
    hidden, n_heads, at = fields.count("hidden_size"), shape.n_heads, "model.layers.{}.self_attn."
    queries = n_heads * (shape.plain + shape.rotary)

    def of_heads(name: str, rows: int, columns: int) -> Weight:
        return Weight(at + name, rows, columns, layers, parts=n_heads)

    def norm(name: str, size: int) -> Weight:
        return Weight(at + name, size, layers=layers, use="vector")

    found = [
        Weight(f"{at}kv_a_proj_with_mqa", shape.latent + shape.rotary, hidden, layers),
        norm("kv_a_layernorm", shape.latent),
        of_heads("kv_b_proj", n_heads * (shape.plain + shape.value), shape.latent),
        of_heads("o_proj", hidden, n_heads * shape.value),
    ]
    if shape.query_latent is None:
        found.append(of_heads("q_proj", queries, hidden))
    else:
        found.append(Weight(f"{at}q_a_proj", shape.query_latent, hidden, layers))
        found.append(norm("q_a_layernorm", shape.query_latent))
        found.append(of_heads("q_b_proj", queries, shape.query_latent))
    grain = (
        "element_wise" if fields.flag("mla_use_output_gate") else fields.get("gated_attention_proj_granularity_type")
    )
    if grain in ("head_wise", "element_wise"):
        found.append(of_heads("g_proj", n_heads * (shape.value if grain == "element_wise" else 1), hidden))
    return found


def _has_indexer(fields: Fields, layer: int) -> bool:
    """Return True if a layer chooses tokens itself instead of reusing an earlier layer's choice."""
    pattern = fields.get("index_topk_pattern")
    if pattern is not None:
        if not isinstance(pattern, str | list):
            raise fields.error("index_topk_pattern", pattern, "a letter a layer")
        return not (layer < len(pattern) and pattern[layer] == "S")
    every = fields.count("index_topk_freq", default=1)
    offset = fields.count("index_skip_topk_offset", default=2, least=0)
    return max(layer - offset + 1, 0) % every == 0


def _indexer(fields: Fields, shape: _Shape, layers: tuple[int, ...], key: int) -> list[Weight]:
    """Return the indexer's weights, which every rank holds whole."""
    hidden, n_heads, at = (
        fields.count("hidden_size"),
        fields.count("index_n_heads"),
        "model.layers.{}.self_attn.indexer.",
    )
    if shape.query_latent is None:
        raise fields.error("q_lora_rank", None, "a number, which sparse attention takes its queries from")
    return [
        Weight(f"{at}wq_b", n_heads * key, shape.query_latent, layers),
        Weight(f"{at}wk_weights_proj", key + n_heads, hidden, layers),
        Weight(f"{at}k_norm", 2 * key, layers=layers, use="vector", stored=FP32),
    ]
