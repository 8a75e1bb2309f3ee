"""Norms over the residual stream, which configurations do not describe."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

from continuum_sim.hardware.catalogue import read_catalogue
from continuum_sim.hardware.hf.fields import Fields
from continuum_sim.hardware.weights import Weight


@dataclass(frozen=True)
class Stream:
    """Residual stream of vLLM 0.32's class for a `model_type`."""

    types: tuple[str, ...]
    norms: int = 2
    """Norms per layer."""
    layer_norm: bool = False
    """Whether they are layer norms, with a bias, rather than RMS norms."""
    final_norm: bool = True
    """Whether there is a norm after the last layer."""
    numbers: int = 0
    """Further numbers in a layer, such as an activation's."""
    positions: int | None = None
    """Rows of a learned position table beyond the number of positions; None: there is no such table."""
    embedding_norm: bool = False
    """Whether there is a norm on the embeddings."""
    head_bias: bool = False
    """Whether the LM head has a bias."""
    tied: bool | None = None
    """Whether the LM head is the embedding table, whatever the fields say."""


@cache
def _by_type() -> Mapping[str, Stream]:
    return {name: stream for stream in read_catalogue("hf/stream.toml", "stream", Stream) for name in stream.types}


_PLAIN: Final = Stream(())


def stream_of(model_type: str) -> Stream:
    """Return what is known of a model type."""
    return _by_type().get(model_type, _PLAIN)


def n_norms(fields: Fields) -> int:
    """Return how many norms over the residual stream a layer has."""
    if fields.model_type in ("falcon", "RefinedWeb", "RefinedWebModel") and fields.flag("parallel_attn", default=True):
        given = fields.get("num_ln_in_parallel_attn")
        return 2 if given == 2 or (given is None and fields.flag("new_decoder_architecture")) else 1
    return stream_of(fields.model_type).norms


def norm_weights(fields: Fields, n_layers: int, weights: Iterable[Weight]) -> list[Weight]:
    """Return the norms over the residual stream, for layers whose other weights are given."""
    stream, hidden, layers = stream_of(fields.model_type), fields.count("hidden_size"), tuple(range(n_layers))
    each = 2 if stream.layer_norm else 1
    found = []
    if fields.own.get("block_configs"):  # DeciLM: a part that a layer omits has no norm either
        for half in ("self_attn", "mlp"):
            having = {layer for weight in weights if f".{half}." in weight.name for layer in weight.layers}
            found.append(Weight(f"model.layers.{{}}.{half}_norm", hidden, layers=tuple(sorted(having)), use="vector"))
    elif norms := n_norms(fields):
        found.append(Weight("model.layers.{}.norm", hidden, layers=layers, count=each * norms, use="vector"))
    if stream.numbers:
        found.append(Weight("model.layers.{}.numbers", stream.numbers, layers=layers, use="vector"))
    if stream.final_norm and fields.get("do_layer_norm_before") is not False:  # false in OPT-350m
        found.append(Weight("model.norm", hidden, count=each, use="vector"))
    return found
