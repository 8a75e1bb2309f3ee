"""What the code of a model type decides and its configuration does not say: one row per `model_type`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from continuum_sim.hardware.catalogue import read_catalogue


@dataclass(frozen=True)
class Family:
    """Behaviour of vLLM 0.32's class for a `model_type`."""

    types: tuple[str, ...]
    gated: bool = True
    """Whether an MLP has a gate beside up and down projections."""
    qk_norm: Literal["none", "head", "heads", "all_heads"] = "none"
    """Norms over queries and keys: of one head's width, or over all heads (divided among ranks, or held by each)."""
    qk_norm_flag: str = ""
    """The field that turns these norms on; empty: they cannot be turned off."""
    qkv_bias: bool = False
    """Queries, keys and values have a bias, whatever the fields say."""
    qkv_bias_flags: tuple[str, ...] = ("attention_bias", "bias", "qkv_bias")
    """The fields that give them a bias."""
    o_bias: bool = False
    """The output of attention has a bias, whatever the fields say."""
    o_bias_flags: tuple[str, ...] = ("attention_bias", "bias")
    """The fields that give it a bias."""
    query_gate: bool = False
    """Queries come with a gate of the same size, unless `attn_output_gate` is false."""
    head_gate: str = ""
    """The field that gives every head a gate."""
    head_gate_wide: bool = False
    """Whether that gate has one number per element of the head, rather than one in all."""
    sinks: Literal["none", "all", "sliding"] = "none"
    """Which layers have one logit per head that draws attention away from all tokens."""
    recurrence: str = ""
    """Meaning of `mamba`, `linear_attention` or `hybrid` in `layer_types`: a key of `MIXERS`."""
    window_every: int = 0
    """Default period of layers with full attention, if no field gives it; 0: all layers slide, or none."""
    window_more: int = 0
    """Tokens that vLLM adds to the window."""
    window_flag: Literal["none", "all", "from"] = "none"
    """What `use_sliding_window`, false by default, decides: nothing, that all layers slide, or that the layers from
    `max_window_layers` on slide."""
    last_full: bool = False
    """Whether the last layer has full attention whatever the fields say."""
    window_all_or_none: bool = False
    """Whether vLLM refuses a model in which only some layers slide."""
    window_by_layer: bool = True
    """Whether `layer_types` with both kinds gives some layers a window; otherwise vLLM gives a window to none."""


@cache
def _by_type() -> Mapping[str, Family]:
    return {name: family for family in read_catalogue("hf/families.toml", "family", Family) for name in family.types}


PLAIN: Final = Family(())
"""A type that is just like Llama."""


def family_of(model_type: str) -> Family:
    """Return what is known of a model type; `PLAIN` if it is like Llama."""
    return _by_type().get(model_type, PLAIN)
