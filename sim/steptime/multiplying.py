"""What matrix products take: seconds to read weights and to compute a row, for weights of each type."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import NamedTuple

from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.weights import Weight
from continuum_sim.steptime.experts import Routing, busiest, filled_rows, routings, tile_rows
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
    ways: int = 1
    """GPUs that have some of the experts each; 1 if every GPU has a part of all."""

    def times_s(self, tokens: int) -> tuple[float, float]:
        """Return the seconds of computing and of reading, on the busiest GPU, for the tokens of all ranks."""
        if not tokens:
            return 0.0, 0.0
        if self.ways == 1:
            return filled_rows(tokens, self.routing) * self.row_s, self.routing.distinct(tokens) * self.read_s
        rows, touched = busiest(tokens, self.routing, self.ways)
        return (rows + touched * (tile_rows(tokens) - 1) / 2) * self.row_s, touched * self.read_s


def linear(
    model: ModelSpec, parallel: Parallel, rates: Rates, but: Callable[[Weight], bool] | None = None
) -> tuple[Linear, ...]:
    """Return the linear layers on one GPU, but for some weights: one entry for each speed of products.

    Where each GPU dispatches a part of its rank's tokens, it holds shared experts whole (`disable_tp` of
    vllm/model_executor/models/deepseek_v2.py).
    """
    size = parallel.tensor_parallel_size
    whole = parallel.enable_expert_parallel and size > 1 and parallel.data_parallel_size > 1
    alike: dict[float, list[Weight]] = defaultdict(list)
    for weight in model.known_weights():
        if but is not None and but(weight):
            continue
        if weight.use == "linear" or (weight.use == "vector" and weight.stored.name == "fp32" and weight.columns > 1):
            alike[rates.matmul[weight.stored.computed]].append(weight)
    return tuple(
        Linear(_read(weights, size, whole) / rates.stream, 2 * _multiplied(weights, size) / flops)
        for flops, weights in alike.items()
    )


def head(model: ModelSpec, size: int, rates: Rates) -> Linear:
    """Return the LM head on one of `size` GPUs, whose rows are requests; no time where it is another stage's."""
    if not model.has_head:
        return Linear(0.0, 0.0)
    found = model.head_weights()
    flops = rates.matmul[found[0].stored.computed] if found else rates.matmul["bf16"]
    return Linear(model.head_bytes_per_rank(size) / rates.stream, 2 * (model.vocab * model.hidden / size) / flops)


def experts(model: ModelSpec, parallel: Parallel, rates: Rates, skew: float) -> tuple[Experts, ...]:
    """Return the experts on one GPU: a part of every expert, or some of them whole with expert parallelism."""
    ways = parallel.expert_ways
    size, ways = (1, ways) if parallel.enable_expert_parallel else (ways, 1)
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
            ways,
        )
        for (pair, flops), weights in alike.items()
    )


def _read(weights: list[Weight], size: int, whole: bool) -> float:
    sizes = [1 if whole and weight.sequence_parallel else size for weight in weights]
    return sum(weight.bytes_per_rank(n) * weight.uses_of_each for weight, n in zip(weights, sizes, strict=True))


def _multiplied(weights: list[Weight], size: int) -> float:
    return sum(weight.params_per_rank(size) * weight.uses_of_each for weight in weights)
