"""Mixtures of experts: which layers have them, and their weights."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.unread import Unread
from continuum_sim.hardware.weights import Weight

_COUNTS = ("num_experts", "moe_num_experts", "n_routed_experts", "num_local_experts")
"""Where configurations say how many experts a layer has."""


def n_experts(fields: Fields) -> int:
    """Return how many experts a layer routes to; 0 for a dense model."""
    given = fields.get(*_COUNTS)
    if isinstance(given, list):  # ERNIE-VL: one number for text and one for images
        given = given[0] if given else 0
    return given if isinstance(given, int) and given > 1 else 0


def expert_layers(fields: Fields, n_layers: int) -> tuple[int, ...]:
    """Return the layers whose MLP is a mixture."""
    return tuple(range(n_layers)) if n_experts(fields) else ()


def expert_weights(fields: Fields, layers: Sequence[int]) -> list[Weight]:
    """Return routers, experts and shared experts of some layers.

    Raises
    ------
    Unread
        For a mixture that is not known.
    """
    raise Unread(f"{fields.path}: the experts of {fields.model_type!r} are not known")
