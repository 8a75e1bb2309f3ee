"""Attention over keys and values: its projections, and its cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from continuum_sim.hardware.caches import CacheKind, CacheLayers
from continuum_sim.hardware.hf.families import family_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.heads import Heads, common_heads, heads_of, shares_kv
from continuum_sim.hardware.hf.layer_types import window
from continuum_sim.hardware.hf.layout import layer_count
from continuum_sim.hardware.weights import Weight


def attention_shapes(fields: Fields) -> tuple[int, int, int]:
    """Return query heads, KV heads and head dimension of a model whose layers are all alike.

    Raises
    ------
    ConfigError
        If one is missing or impossible.
    """
    heads = common_heads(fields)
    return heads.n_heads, heads.n_kv_heads, heads.head_dim


def full_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of layers with full attention."""
    return _attention(fields, "full", layers, None)


def sliding_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of layers with sliding-window attention."""
    return _attention(fields, "sliding", layers, window(fields))


def chunked_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of layers with chunked local attention."""
    return _attention(fields, "chunked", layers, fields.count("attention_chunk_size"))


def _attention(
    fields: Fields, kind: CacheKind, layers: Sequence[int], tokens: int | None
) -> tuple[list[CacheLayers], list[Weight]]:
    n_layers = layer_count(fields)
    alike: dict[tuple[Heads, bool], list[int]] = {}
    for layer in layers:
        alike.setdefault((heads_of(fields, layer, kind), shares_kv(fields, layer, n_layers)), []).append(layer)
    caches: list[CacheLayers] = []
    weights: list[Weight] = []
    for (heads, shared), of_them in alike.items():
        shape = (tuple(of_them), heads.n_heads, heads.n_kv_heads, heads.head_dim, heads.value_dim)
        cache = CacheLayers(kind, *shape, window=tokens)
        weights += attention_weights(fields, cache, keeps=not shared)
        if not shared:
            caches.append(cache)
        elif caches:  # those before keep what these attend to
            caches[-1] = replace(caches[-1], borrowers=(*caches[-1].borrowers, *cache.layers))
    return caches, weights


def attention_weights(fields: Fields, cache: CacheLayers, *, keeps: bool = True) -> list[Weight]:
    """Return the projections and norms of attention layers; only the queries' if other layers keep the keys."""
    hidden, layers, family = fields.count("hidden_size"), cache.layers, family_of(fields.model_type)
    value_dim = cache.head_dim if cache.value_dim is None else cache.value_dim
    at = "model.layers.{}.self_attn."
    gated = 2 if family.query_gate and fields.flag("attn_output_gate", default=True) else 1
    shapes = [("q_proj", cache.n_heads, gated * cache.head_dim)]
    if keeps:
        shapes += [("k_proj", cache.n_kv_heads, cache.head_dim), ("v_proj", cache.n_kv_heads, value_dim)]
    found = [Weight(f"{at}{name}", heads * dim, hidden, layers, parts=heads) for name, heads, dim in shapes]
    found.append(Weight(f"{at}o_proj", hidden, cache.n_heads * value_dim, layers, parts=cache.n_heads))
    if has_qkv_bias(fields):
        found += [
            Weight(f"{at}{name}.bias", heads * dim, layers=layers, parts=heads, use="vector")
            for name, heads, dim in shapes
        ]
    if family.o_bias or _any(fields, family.o_bias_flags):
        found.append(Weight(f"{at}o_proj.bias", hidden, layers=layers, use="vector"))
    if family.head_gate and fields.get(family.head_gate):
        wide = family.head_gate_wide or fields.get(family.head_gate) == "per-element"
        of_each = cache.head_dim if wide else 1
        rows = cache.n_heads * of_each
        found.append(Weight(f"{at}g_proj", rows, hidden, layers, parts=cache.n_heads))
    if family.sinks == "all" or (family.sinks == "sliding" and cache.kind == "sliding"):
        found.append(Weight(f"{at}sinks", cache.n_heads, layers=layers, parts=cache.n_heads, use="vector"))
    return found + _norms(fields, cache, keeps)


def _norms(fields: Fields, cache: CacheLayers, keeps: bool) -> list[Weight]:
    if not has_qk_norm(fields):
        return []
    family, found = family_of(fields.model_type), []
    for name, n_heads in (("q_norm", cache.n_heads), ("k_norm", cache.n_kv_heads))[: 2 if keeps else 1]:
        heads = 1 if family.qk_norm == "head" else n_heads
        parts = heads if family.qk_norm == "heads" else 1
        of_them = Weight(
            f"model.layers.{{}}.self_attn.{name}",
            heads * cache.head_dim,
            layers=cache.layers,
            parts=parts,
            use="vector",
        )
        found.append(of_them)
    return found


def has_qkv_bias(fields: Fields) -> bool:
    """Return whether queries, keys and values have a bias."""
    family = family_of(fields.model_type)
    return family.qkv_bias or _any(fields, family.qkv_bias_flags)


def has_qk_norm(fields: Fields) -> bool:
    """Return whether there are norms over queries and keys."""
    family = family_of(fields.model_type)
    return family.qk_norm != "none" and (not family.qk_norm_flag or bool(fields.get(family.qk_norm_flag)))


def _any(fields: Fields, flags: Sequence[str]) -> bool:
    return any(fields.flag(flag) for flag in flags)
