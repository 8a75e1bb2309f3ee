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
    qk_norm: Literal["none", "head", "heads", "all_heads"] = "none"
    """Norms over queries and keys: of one head's width, over all heads (divided among the ranks, or held by each)."""
    qk_norm_flag: str = ""
    """The field that turns these norms on; empty: nothing turns them off."""
    qkv_bias: bool = False
    """Queries, keys and values have a bias, whatever the fields say."""
    qkv_bias_flags: tuple[str, ...] = ("attention_bias", "bias", "qkv_bias")
    """The fields that give them one."""
    o_bias: bool = False
    """The output of attention has a bias, whatever the fields say."""
    o_bias_flags: tuple[str, ...] = ("attention_bias", "bias")
    """The fields that give it one."""
    query_gate: bool = False
    """Queries come with a gate of their size, unless `attn_output_gate` is false."""
    head_gate: str = ""
    """The field that gives every head a gate."""
    head_gate_wide: bool = False
    """Whether that gate has a number for each of the head's rather than one."""
    sinks: Literal["none", "all", "sliding"] = "none"
    """Which layers have a logit a head that takes attention from all tokens."""
    recurrence: str = ""
    """What `mamba`, `linear_attention` or `hybrid` in `layer_types` means: a key of `MIXERS`."""
    window_every: int = 0
    """Every how many layers one sees the whole context where no field says it; 0: all layers slide, or none."""
    window_more: int = 0
    """Tokens that vLLM adds to the window."""
    window_flag: Literal["none", "all", "from"] = "none"
    """What `use_sliding_window`, false by default, decides: nothing, that all layers slide, or that those from
    `max_window_layers` on do."""
    last_full: bool = False
    """Whether the last layer sees the whole context whatever the fields say."""
    window_all_or_none: bool = False
    """Whether vLLM refuses a model of which some layers slide."""
    window_by_layer: bool = True
    """Whether `layer_types` of both kinds gives some layers a window; otherwise vLLM gives none one."""


@cache
def _by_type() -> Mapping[str, Family]:
    return {name: family for family in read_catalogue("hf/families.toml", "family", Family) for name in family.types}


PLAIN: Final = Family(())
"""A kind that differs from Llama in nothing."""


def family_of(model_type: str) -> Family:
    """Return what is known of a kind; `PLAIN` where it differs in nothing."""
    return _by_type().get(model_type, PLAIN)
