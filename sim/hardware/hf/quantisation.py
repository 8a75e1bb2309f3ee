"""How weights are stored: `quantization_config`, its older spellings, and the file that ModelOpt writes beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.hf.unread import Unread
from continuum_sim.hardware.weights import Weight


@dataclass(frozen=True)
class Quantised:
    """The weights as they are stored."""

    weights: tuple[Weight, ...]
    name: str | None = None
    """As vLLM calls it."""
    kv_scheme: str | None = None
    """Type of the KV cache that the configuration asks for."""


def quantised(outer: Fields, weights: Sequence[Weight]) -> Quantised:
    """Return the weights stored as the configuration says.

    Raises
    ------
    Unread
        For a way that is not known.
    """
    if outer.has("quantization_config", "compression_config") or outer.path.with_name("hf_quant_config.json").exists():
        raise Unread(f"{outer.path}: quantised weights are not known")
    return Quantised(tuple(weights))
