"""What follows the mixing of tokens in the layers of a kind of model: an MLP or a mixture of experts."""

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
"""How a class tells the layers with experts from those without (`sparse.py` has a function for each)."""


@dataclass(frozen=True)
class Mlp:
    """The dense MLP of some kinds."""

    types: tuple[str, ...]
    at: str = "mlp"
    """Its module in a layer."""
    width: tuple[str, ...] = ("intermediate_size",)
    """The fields that may hold the width; the first there is counts."""
    times_hidden: int = 0
    """Times the residual stream it is wide where no field says it."""
    silent: int = 0
    """How wide it is where no field says it."""
    bias: str = "mlp_bias"
    """The flag that gives its matrices biases; `always`, or empty for never."""
    divided: bool = True
    """Whether tensor parallelism divides it. Classes of transformers without a plan for it do not."""


@dataclass(frozen=True)
class Mixture:
    """The mixture of experts of some kinds."""

    types: tuple[str, ...]
    layers: Routed = "all"
    """Which layers have one."""
    first: int = 0
    """Dense layers before the first of them, where no field says it."""
    needed: bool = False
    """Whether vLLM refuses a model of which no layer has one."""
    at: str = "mlp"
    """Its module in a layer; empty: the layer itself."""
    width: tuple[str, ...] = ("moe_intermediate_size",)
    """The fields that may hold the width of an expert."""
    bias: bool = False
    """Whether experts have biases."""
    least: int = 1
    """How much of an expert's width a rank holds at least: vLLM fills up what is less."""
    router: str = ""
    """Module of the router; empty: `gate` in the mixture."""
    router_bits: int = 16
    """Of a number of the router; 32 where the class keeps it in float32 whatever the model's type."""
    router_type: str = ""
    """The field that may name the router's type instead."""
    router_bias: bool = False
    correction: str = ""
    """What gives each expert a correction of its score, in float32: `always`, a flag, or FIELD=VALUE."""
    scales: bool = False
    """Whether the router scales its input and each expert's output, and there are norms about both (Gemma 4)."""
    hashed: str = ""
    """The field that counts the first layers whose experts are looked up by token instead (DeepSeek V4)."""
    latent: str = ""
    """The field that holds the width experts work in, where it is not the residual stream's."""
    latent_norm: str = ""
    """The flag that puts a norm behind it."""
    latent_projections: tuple[str, str] = ("fc1_latent_proj", "fc2_latent_proj")
    """Modules that take tokens to that width, and back."""
    shared_at: str = ""
    """Module of the experts that every token goes to; empty: there are none."""
    shared_width: tuple[str, ...] = ()
    """The fields that may hold their width."""
    shared_times: tuple[str, ...] = ()
    """The field that counts them; empty: the width is that of all."""
    shared_total: str = ""
    """The field that may hold the width of all of them instead."""
    shared_gate: bool = False
    """Whether a gate of one number scales what they say."""
    beside: bool = False
    """Whether a dense MLP stands beside the mixture."""


LLAMA: Final = Mlp(())
"""The MLP of a kind without a row."""


@cache
def _mlps() -> Mapping[str, Mlp]:
    return {name: row for row in read_catalogue("hf/feed_forward.toml", "mlp", Mlp) for name in row.types}


@cache
def _mixtures() -> Mapping[str, Mixture]:
    return {name: row for row in read_catalogue("hf/feed_forward.toml", "mixture", Mixture) for name in row.types}


def mlp_of(model_type: str) -> Mlp:
    """Return the dense MLP of a kind."""
    return _mlps().get(model_type, LLAMA)


def mixture_of(model_type: str) -> Mixture | None:
    """Return the mixture of a kind; None where none is known."""
    return _mixtures().get(model_type)
