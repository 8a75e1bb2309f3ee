"""Zamba 2: a few blocks of attention and MLP that many layers share in turn, beside each layer's state-space layer."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.mamba import mamba2
from continuum_sim.hardware.weights import Weight


def mamba2_with_shared_block(fields: Fields, layers: Sequence[int]) -> tuple[list[CacheLayers], list[Weight]]:
    """Return caches and weights of layers with a shared block before their state-space layer.

    The block reads the stream and the embeddings side by side. Its weights are counted once, in the first layer that
    uses it; every layer keeps its own keys and values, and has its own adapters for the shared matrices.
    """
    caches, weights = mamba2(fields, layers)
    hidden, inner = fields.count("hidden_size"), fields.count("intermediate_size")
    n_heads, head_dim = fields.count("num_attention_heads"), fields.count("attention_head_dim")
    width, wide = n_heads * head_dim, 2 * hidden
    firsts = tuple(layers[: fields.count("num_mem_blocks", default=1)])
    rank, where, at = fields.count("adapter_rank", default=128), tuple(layers), "model.layers.{}.shared_transformer."

    def shared(name: str, rows: int, columns: int, parts: int) -> Weight:
        return Weight(at + name, rows, columns, firsts, parts=parts, uses=len(where))

    weights += [
        shared("self_attn.q_proj", width, wide, n_heads),
        shared("self_attn.k_proj", width, wide, n_heads),
        shared("self_attn.v_proj", width, wide, n_heads),
        shared("self_attn.o_proj", hidden, width, n_heads),
        shared("feed_forward.gate_up_proj", 2 * inner, hidden, inner),
        shared("feed_forward.down_proj", hidden, inner, inner),
        Weight("model.layers.{}.linear", hidden, hidden, where),
        Weight(f"{at}norm", wide + hidden, layers=firsts, use="vector"),
    ]
    if fields.flag("use_shared_mlp_adapter", default=True):
        weights += _adapter(f"{at}feed_forward.gate_up_proj_adapter", where, rank, hidden, 2 * inner, inner)
    if fields.flag("use_shared_attention_adapter"):
        for name in ("q", "k", "v"):
            weights += _adapter(f"{at}self_attn.{name}_adapter", where, rank, wide, width, n_heads)
    return [*caches, CacheLayers("full", where, n_heads, n_heads, head_dim)], weights


def _adapter(name: str, layers: tuple[int, ...], rank: int, columns: int, rows: int, parts: int) -> list[Weight]:
    down = Weight(f"{name}.A", rank, columns, layers, parts=rank)
    return [down, Weight(f"{name}.B", rows, rank, layers, parts=parts)]
