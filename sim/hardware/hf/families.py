"""What the code of a kind of model decides and its configuration does not say: one row a `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from continuum_sim.hardware.catalogue import read_catalogue


@dataclass(frozen=True)
class Family:
    """What vLLM 0.32's class of a `model_type` does."""

    types: tuple[str, ...]
    gated: bool = True
    """Whether an MLP has a gate beside up and down."""
    norms: int = 2
    """Norms a layer over the residual stream."""
    qk_norm: Literal["none", "head", "heads"] = "none"
    """Norms over queries and keys: of one head's width, or over all heads."""
    qkv_bias: bool = False
    """Where neither `attention_bias` nor `qkv_bias` says it."""
    tied: bool | None = None
    """Whether the LM head is the table where the class knows no better; None: as the class's default says."""
    window_every: int = 0
    """Every how many layers one sees the whole context where no field says it; 0: all layers slide, or none."""
    window_more: int = 0
    """Tokens that vLLM adds to the window."""


@cache
def _by_type() -> Mapping[str, Family]:
    return {name: family for family in read_catalogue("hf/families.toml", "family", Family) for name in family.types}


PLAIN: Final = Family(())
"""A kind that differs from Llama in nothing."""


def family_of(model_type: str) -> Family:
    """Return what is known of a kind; `PLAIN` where it differs in nothing."""
    return _by_type().get(model_type, PLAIN)


def is_named(model_type: str) -> bool:
    """Whether the kind has a row of its own."""
    return model_type in _by_type()
