"""How the tokens of data-parallel ranks reach the experts of a mixture, and come back: vLLM's all-to-all backends."""

from __future__ import annotations

from typing import Final, NamedTuple

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import ALL2ALL_BACKENDS, Parallel
from continuum_sim.hardware.weights import Computed
from continuum_sim.steptime.communication import Communication

_DISPATCHED_BYTES: Final[dict[Computed, float]] = {"bf16": 2, "fp8": 1, "mxfp8": 1, "int8": 1, "fp4": 0.5}
"""Of each number of a token on its way to experts multiplied in a type: it is rounded before it is sent (vllm's
fused_moe/prepare_finalize/naive_dp_ep.py, deepep_ht.py and deepep_ll.py). What comes back is in the model's type."""

_ROUTE_BYTES: Final = 8
"""Of each expert of a token beside it: its number and its weight, of four bytes each."""


class Exchange(NamedTuple):
    """Seconds of all mixtures of a step: a latency, and more for each token of all ranks together."""

    latency_s: float
    token_s: float


NO_EXCHANGE: Final = Exchange(0.0, 0.0)


def exchanges(model: ModelSpec, parallel: Parallel, links: Communication) -> Exchange:
    """Return what it takes to dispatch tokens and to combine what experts made of them.

    By default all ranks gather all tokens, and the sums over experts are reduced and scattered (`AgRsAll2AllManager`
    of vllm/distributed/device_communicators/all2all.py), over tensor and data parallel GPUs with expert parallelism
    and over the data parallel ones without. With expert parallelism beside tensor parallelism each GPU of a rank
    dispatches its part of the rank's tokens, which the rank gathers afterwards (`use_sequence_parallel_moe`).
    Without data parallelism there is nothing to exchange: all GPUs have all tokens.

    Raises
    ------
    ConfigError
        For DeepEP without expert parallelism, or without a measurement on the links.
    """
    ranks, size = parallel.data_parallel_size, parallel.tensor_parallel_size
    backend = parallel.all2all_backend
    if backend != ALL2ALL_BACKENDS[0] and not (parallel.enable_expert_parallel and ranks > 1):
        raise ConfigError(f"all2all_backend {backend} needs --enable-expert-parallel and --data-parallel-size above 1")
    if parallel.enable_dbo and backend == ALL2ALL_BACKENDS[0]:
        # As in vLLM's own words (vllm/config/vllm.py).
        raise ConfigError(
            "--enable-dbo: Microbatching currently only supports the deepep_low_latency and deepep_high_throughput "
            f"all2all backends. {backend} is not supported"
        )
    if ranks == 1:
        return NO_EXCHANGE
    gpus = parallel.expert_ways
    apart = parallel.pipeline_parallel_size  # GPUs of other stages lie between
    if not parallel.enable_expert_parallel:
        gpus, apart = ranks, apart * size
    layers: dict[int, tuple[int, Computed]] = {}
    for weight in model.expert_weights():
        for layer in weight.layers:
            layers[layer] = (weight.visited, weight.stored.computed)
    latency_s = token_s = 0.0
    for visited, computed in layers.values():
        there = model.hidden * _DISPATCHED_BYTES[computed]
        back = model.hidden * model.dtype_bytes
        if backend == ALL2ALL_BACKENDS[0]:
            out, home = links.cost("all_gather", gpus, apart), links.cost("reduce_scatter", gpus, apart)
            there += visited * _ROUTE_BYTES
            share = 1.0
        else:
            out, home = links.deepep(backend.removeprefix("deepep_"), gpus, apart, visited)
            share = 1 / gpus
        latency_s += out.latency_s + home.latency_s
        token_s += share * (there / out.bytes_per_s + back / home.bytes_per_s)
        if parallel.enable_expert_parallel and size > 1:
            whole = links.cost("all_gather", size)
            latency_s += whole.latency_s
            token_s += back / ranks / whole.bytes_per_s
    return Exchange(latency_s, token_s)
