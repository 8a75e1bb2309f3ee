"""Caches of each kind of layer, and the weights with which it mixes tokens."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.hf.attention import chunked_attention, full_attention, sliding_attention
from continuum_sim.hardware.hf.block_sparse import block_sparse_attention
from continuum_sim.hardware.hf.compressed import compressed_attention
from continuum_sim.hardware.hf.factorised import factorised_attention
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.layer_types import Mixer
from continuum_sim.hardware.hf.layout import mixers
from continuum_sim.hardware.hf.linear_attention import gated_delta, kimi_delta, lightning
from continuum_sim.hardware.hf.mamba import mamba, mamba2, mamba2_beside_attention
from continuum_sim.hardware.hf.mla import latent_attention, latent_projections
from continuum_sim.hardware.hf.shared_blocks import mamba2_with_shared_block
from continuum_sim.hardware.hf.short_conv import short_conv
from continuum_sim.hardware.weights import Weight

Mixed = tuple[list[CacheLayers], list[Weight]]


def _nothing(_fields: Fields, _layers: Sequence[int]) -> Mixed:
    return [], []


MIXERS: Final[Mapping[Mixer, Callable[[Fields, Sequence[int]], Mixed]]] = {
    "full": full_attention,
    "sliding": sliding_attention,
    "chunked": chunked_attention,
    "block_sparse": block_sparse_attention,
    "factorised": factorised_attention,
    "mla": latent_attention,
    "latent_projections": latent_projections,
    "compressed": compressed_attention,
    "mamba": mamba,
    "mamba2": mamba2,
    "mamba2_attention": mamba2_beside_attention,
    "mamba2_shared_block": mamba2_with_shared_block,
    "gated_delta": gated_delta,
    "kda": kimi_delta,
    "lightning": lightning,
    "conv": short_conv,
    "none": _nothing,
}
"""Kind of a layer -> function that reads it."""


def mixed(fields: Fields, n_layers: int) -> Mixed:
    """Return the caches of all layers, and the weights with which they mix tokens.

    Raises
    ------
    ConfigError, Unread
        For a malformed field, or an unknown kind of layer.
    """
    caches: list[CacheLayers] = []
    weights: list[Weight] = []
    kinds = mixers(fields, n_layers)
    for kind in dict.fromkeys(kinds):
        kept, held = MIXERS[kind](fields, [layer for layer, mixer in enumerate(kinds) if mixer == kind])
        caches += kept
        weights += held
    return caches, weights
