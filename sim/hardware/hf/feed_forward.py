"""The feed-forward part of the layers of a model type: an MLP or a mixture of experts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from continuum_sim.hardware.catalogue import read_catalogue

Routed = Literal[
    "all",
    "first",
    "first_then_every",
    "every",
    "interleaved",
    "between",
    "periodic",
    "listed",
    "listed_or_all",
    "typed",
    "enumerated",
    "patterned",
]
"""How a class distinguishes layers with experts from those without (`sparse.py` has a function for each)."""


@dataclass(frozen=True)
class Mlp:
    """The dense MLP of some model types."""

    types: tuple[str, ...]
    at: str = "mlp"
    """Its module in a layer."""
    width: tuple[str, ...] = ("intermediate_size",)
    """The fields that may hold the width; the first one present counts."""
    times_hidden: int = 0
    """Width in multiples of the residual stream's, if no field gives it."""
    silent: int = 0
    """Width if no field gives it."""
    bias: str = "mlp_bias"
    """The flag that gives its matrices biases; `always`, or empty for never."""
    divided: bool = True
    """Whether tensor parallelism divides it, which transformers classes without a plan for it do not allow."""


@dataclass(frozen=True)
class Mixture:
    """The mixture of experts of some model types."""

    types: tuple[str, ...]
    layers: Routed = "all"
    """Which layers have one."""
    first: int = 0
    """Dense layers before the first mixture, if no field gives their number."""
    needed: bool = False
    """Whether vLLM refuses a model without any mixture."""
    at: str = "mlp"
    """Its module in a layer; empty: the layer itself."""
    width: tuple[str, ...] = ("moe_intermediate_size",)
    """The fields that may hold the width of an expert."""
    bias: bool = False
    """Whether experts have biases."""
    least: int = 1
    """Least part of an expert's width on a rank: vLLM pads anything less."""
    sequence_parallel: bool = False
    """Whether GPUs may divide tokens among them instead of shared experts (`use_sequence_parallel_moe`)."""
    router: str = ""
    """Module of the router; empty: `gate` in the mixture."""
    router_bits: int = 16
    """Bits per element of the router; 32 if the class keeps it in float32 whatever the model's type."""
    router_type: str = ""
    """The field that may name the router's type instead."""
    router_bias: bool = False
    correction: str = ""
    """What gives each expert a score correction, in float32: `always`, a flag, or FIELD=VALUE."""
    scales: bool = False
    """Whether the router scales its input and each expert's output, with norms around both (Gemma 4)."""
    hashed: str = ""
    """The field with the number of first layers whose experts are looked up by token instead (DeepSeek V4)."""
    latent: str = ""
    """The field with the width that experts work in, if it is not the residual stream's."""
    latent_norm: str = ""
    """The flag that adds a norm after it."""
    latent_projections: tuple[str, str] = ("fc1_latent_proj", "fc2_latent_proj")
    """Modules that project tokens to that width, and back."""
    shared_at: str = ""
    """Module of the experts that every token visits; empty: there are none."""
    shared_width: tuple[str, ...] = ()
    """The fields that may hold their width."""
    shared_times: tuple[str, ...] = ()
    """The fields with their number; empty: the width is that of all of them."""
    shared_total: str = ""
    """The field that may hold the width of all of them instead."""
    shared_gate: bool = False
    """Whether a gate with one number scales their output."""
    beside: bool = False
    """Whether there is a dense MLP beside the mixture."""


LLAMA: Final = Mlp(())
"""The MLP of a type without a row."""


@cache
def _mlps() -> Mapping[str, Mlp]:
    return {name: row for row in read_catalogue("hf/feed_forward.toml", "mlp", Mlp) for name in row.types}


@cache
def _mixtures() -> Mapping[str, Mixture]:
    return {name: row for row in read_catalogue("hf/feed_forward.toml", "mixture", Mixture) for name in row.types}


def mlp_of(model_type: str) -> Mlp:
    """Return the dense MLP of a model type."""
    return _mlps().get(model_type, LLAMA)


def mixture_of(model_type: str) -> Mixture | None:
    """Return the mixture of a model type; None if none is known."""
    return _mixtures().get(model_type)
