"""The dense MLP of a layer."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.hardware.hf.families import family_of
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import Weight


def mlp_weights(fields: Fields, layers: Sequence[int], intermediate: int | None = None) -> list[Weight]:
    """Return the matrices of the MLPs of some layers, `intermediate_size` wide unless told otherwise."""
    hidden = fields.count("hidden_size")
    inner = intermediate or fields.count("intermediate_size")
    at, where = "model.layers.{}.mlp.", tuple(layers)
    ups = ("gate_proj", "up_proj") if family_of(fields.model_type).gated else ("up_proj",)
    found = [Weight(at + name, inner, hidden, where, parts=inner) for name in ups]
    return [*found, Weight(at + "down_proj", hidden, inner, where, parts=inner)]
