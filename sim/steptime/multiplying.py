"""What matrix products take: seconds to read weights and to compute a row, for weights of each type."""

from __future__ import annotations

from collections import defaultdict
from typing import NamedTuple

from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.weights import Weight
from continuum_sim.steptime.experts import Routing, filled_rows, routings
from continuum_sim.steptime.rates import Rates


class Linear(NamedTuple):
    """Weights of all layers that every token is multiplied with, of types that are multiplied equally fast."""

    read_s: float
    token_s: float


class Experts(NamedTuple):
    """Experts that tokens are routed to alike, of types that are multiplied equally fast."""

    routing: Routing
    read_s: float
    """Reading one expert of each layer."""
    row_s: float
    """Multiplying one expert of each layer with one row."""

    def times_s(self, tokens: int) -> tuple[float, float]:
        """Return the seconds of computing and of reading."""
        if not tokens:
            return 0.0, 0.0
        return filled_rows(tokens, self.routing) * self.row_s, self.routing.distinct(tokens) * self.read_s


def linear(model: ModelSpec, size: int, rates: Rates) -> tuple[Linear, ...]:
    """Return the linear layers on one of `size` GPUs: one entry for each speed of products."""
    alike: dict[float, list[Weight]] = defaultdict(list)
    for weight in model.known_weights():
        if weight.use == "linear" or (weight.use == "vector" and weight.stored.name == "fp32" and weight.columns > 1):
            alike[rates.matmul[weight.stored.computed]].append(weight)
    return tuple(
        Linear(_read(weights, size) / rates.stream, 2 * _multiplied(weights, size) / flops)
        for flops, weights in alike.items()
    )


def head(model: ModelSpec, size: int, rates: Rates) -> Linear:
    """Return the LM head on one of `size` GPUs, whose rows are requests."""
    found = model.head_weights()
    flops = rates.matmul[found[0].stored.computed] if found else rates.matmul["bf16"]
    return Linear(model.head_bytes_per_rank(size) / rates.stream, 2 * (model.vocab * model.hidden / size) / flops)


def experts(model: ModelSpec, size: int, rates: Rates, skew: float) -> tuple[Experts, ...]:
    """Return the experts on one of `size` GPUs, each of which holds a part of every expert."""
    alike: dict[tuple[tuple[int, int], float], list[Weight]] = defaultdict(list)
    for weight in model.expert_weights():
        if weight.visited:
            alike[(weight.visited, weight.count), rates.grouped[weight.stored.computed]].append(weight)
    routed = routings([pair for pair, _ in alike], skew)
    return tuple(
        Experts(
            routed[pair],
            sum(weight.bytes_per_rank(size) / weight.count for weight in weights) / rates.stream,
            2 * sum(weight.params_per_rank(size) / weight.count for weight in weights) / flops,
        )
        for (pair, flops), weights in alike.items()
    )


def _read(weights: list[Weight], size: int) -> float:
    return sum(weight.bytes_per_rank(size) * weight.uses_of_each for weight in weights)


def _multiplied(weights: list[Weight], size: int) -> float:
    return sum(weight.params_per_rank(size) * weight.uses_of_each for weight in weights)
