"""Attention to blocks of tokens chosen by an indexer (MiniMax M3): ordinary heads, and a key for the indexer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.hf.attention import full_attention
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.heads import common_heads
from continuum_sim.hardware.weights import Weight

_KEY_BYTES = 2
"""Bytes per element of the indexer's key, whatever the KV cache's type (`indexer_kv_dtype`)."""


def block_sparse_attention(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of the layers and of their indexers, which have one query per KV head."""
    caches, weights = full_attention(fields, layers)
    hidden, where, n_heads = fields.count("hidden_size"), tuple(layers), common_heads(fields).n_kv_heads
    sparse = fields.part("sparse_attention_config") or fields
    key, at = sparse.count("sparse_index_dim", "index_head_dim", default=128), "model.layers.{}.self_attn.index_"
    weights += [
        Weight(f"{at}q_proj", n_heads * key, hidden, where, parts=n_heads),
        Weight(f"{at}k_proj", key, hidden, where),
        Weight(f"{at}norms", 2 * key, layers=where, use="vector"),
    ]
    index = CacheLayers(
        "mla", where, 0, 1, key, value_dim=0, state_content_bytes=_KEY_BYTES * key, index_heads=n_heads, index_dim=key
    )
    blocks, tokens = (sparse.get(f"sparse_{name}", f"index_{name}") for name in ("topk_blocks", "block_size"))
    if isinstance(blocks, int) and isinstance(tokens, int) and blocks > 0 and tokens > 0:
        caches = [replace(cache, chosen=blocks * tokens) for cache in caches]
    return [*caches, index], weights
