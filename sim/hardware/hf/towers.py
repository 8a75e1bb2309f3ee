"""What a multimodal model holds beside its language model: towers for images and sound, and what joins them to it."""

from __future__ import annotations

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import Weight


def tower_weights(outer: Fields) -> list[Weight]:
    """Return the weights that take no part in steps of text."""
    return []
