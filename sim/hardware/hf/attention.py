"""Attention over keys and values: its projections, and what it keeps."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.hardware.caches import CacheKind, CacheLayers
from continuum_sim.hardware.hf.families import family_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.layout import window
from continuum_sim.hardware.weights import Weight


def attention_shapes(fields: Fields) -> tuple[int, int, int]:
    """Return query heads, KV heads and the numbers of a head.

    Raises
    ------
    ConfigError
        If one is missing or cannot be.
    """
    n_heads = fields.count("num_attention_heads")
    n_kv_heads = fields.count("num_key_value_heads", "num_kv_heads", "n_head_kv", default=n_heads)
    if n_heads % n_kv_heads:
        raise fields.error("num_key_value_heads", n_kv_heads, f"a divisor of num_attention_heads ({n_heads})")
    return n_heads, n_kv_heads, _head_dim(fields, n_heads)


def _head_dim(fields: Fields, n_heads: int) -> int:
    given = fields.get("head_dim")
    return fields.count("hidden_size") // n_heads if given is None else fields.count("head_dim")


def full_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of layers that attend to everything."""
    return _attention(fields, "full", layers, None)


def sliding_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of layers that attend to the last tokens."""
    return _attention(fields, "sliding", layers, window(fields))


def chunked_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of layers that attend to the chunk a token lies in."""
    return _attention(fields, "chunked", layers, fields.count("attention_chunk_size"))


def _attention(
    fields: Fields, kind: CacheKind, layers: Sequence[int], tokens: int | None
) -> tuple[list[CacheLayers], list[Weight]]:
    n_heads, n_kv_heads, head_dim = attention_shapes(fields)
    cache = CacheLayers(kind, tuple(layers), n_heads, n_kv_heads, head_dim, window=tokens)
    return [cache], attention_weights(fields, cache)


def attention_weights(fields: Fields, cache: CacheLayers) -> list[Weight]:
    """Return the projections of attention layers, and their norms."""
    hidden, layers, value_dim = fields.count("hidden_size"), cache.layers, cache.value_dim or cache.head_dim
    at = "model.layers.{}.self_attn."
    shapes = [
        ("q_proj", cache.n_heads, cache.head_dim),
        ("k_proj", cache.n_kv_heads, cache.head_dim),
        ("v_proj", cache.n_kv_heads, value_dim),
    ]
    found = [Weight(f"{at}{name}", heads * dim, hidden, layers, parts=heads) for name, heads, dim in shapes]
    found.append(Weight(f"{at}o_proj", hidden, cache.n_heads * value_dim, layers, parts=cache.n_heads))
    if has_qkv_bias(fields):
        found += [Weight(f"{at}{name}.bias", heads * dim, layers=layers, parts=heads) for name, heads, dim in shapes]
    norms = family_of(fields.model_type).qk_norm
    if norms != "none":
        times = (cache.n_heads, cache.n_kv_heads) if norms == "heads" else (1, 1)
        for name, heads in zip(("q_norm", "k_norm"), times, strict=True):
            found.append(Weight(f"{at}{name}", heads * cache.head_dim, layers=layers, use="vector"))
    return found


def has_qkv_bias(fields: Fields) -> bool:
    """Whether queries, keys and values have a bias."""
    # A class whose code decides it may hold a flag that nothing reads.
    if family_of(fields.model_type).qkv_bias:
        return True
    return fields.flag("attention_bias", "qkv_bias")
