"""What the layers of one kind keep of a context, and the weights they mix tokens with."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.hf.attention import chunked_attention, full_attention, sliding_attention
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.layout import Mixer
from continuum_sim.hardware.weights import Weight

Mixed = tuple[list[CacheLayers], list[Weight]]

MIXERS: Final[Mapping[Mixer, Callable[[Fields, Sequence[int]], Mixed]]] = {
    "full": full_attention,
    "sliding": sliding_attention,
    "chunked": chunked_attention,
}
"""Kind of a layer -> who reads it."""
