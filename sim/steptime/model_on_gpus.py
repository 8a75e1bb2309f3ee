"""One model on each GPU: the fewest it fits, how many requests, what its steps take and cost, and what limits them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, ModelSpec, kv_memory
from continuum_sim.hardware.gpus import GIB
from continuum_sim.hardware.groups import Groups, model_groups
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.prices import Prices
from continuum_sim.steptime.batch import StepBatch, prefill_of
from continuum_sim.steptime.machines import SIZES, capacity_tokens, check_lengths
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.named import make_step_time, measured_on_one_gpu
from continuum_sim.steptime.parts import Part, PartName
from continuum_sim.steptime.roofline import Roofline
from continuum_sim.vllm_defaults import GPU_MEMORY_UTILIZATION


@dataclass(frozen=True)
class Share:
    """Work of one kind in a step, over all layers."""

    name: PartName
    compute_s: float
    memory_s: float
    latency_s: float
    step_share: float
    """Share of the step's seconds."""
    limit: str
    """What takes its time: `computing`, `reading` memory, `links` to the other GPUs, or `latency`."""


@dataclass(frozen=True)
class Step:
    """A step, and what its tokens cost."""

    tokens: int
    """New tokens: of one prompt, or one of each decoding request."""
    step_s: float
    usd_per_million_tokens: float | None
    """None if the price is not known."""
    shares: tuple[Share, ...]
    """Largest first; empty if the step-time model does not tell."""


@dataclass(frozen=True)
class Served:
    """The model on some GPUs."""

    gpu: str
    tensor_parallel_size: int
    kv_blocks: int
    block_size: int
    """Tokens, which recurrent states may raise."""
    kv_tokens: int
    """As vLLM logs them for requests of the model's `max_model_len`."""
    requests: int
    """Requests of the given context that fit while they decode."""
    usd_per_hour: float | None
    decode: Step
    """As many of these requests as `max_num_seqs` allows."""
    prefill: Step
    """A prompt that fills `max_num_batched_tokens`, with nothing before it."""


@dataclass(frozen=True)
class Unfit:
    """GPUs of one kind that do not serve the model."""

    gpu: str
    reason: str


def model_on_gpus(
    model: ModelSpec,
    gpus: Sequence[GpuSpec],
    *,
    tensor_parallel_size: int | None = None,
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION,
    block_size: int = 16,
    max_model_len: int = 32768,
    context_tokens: int = 4096,
    step_time: str = "roofline",
    prices: Prices | None = None,
) -> tuple[list[Served], list[Unfit]]:
    """Describe a model on every GPU, cheapest decoded tokens first, and say where it does not fit.

    Parameters
    ----------
    tensor_parallel_size
        GPUs it is split over; None takes the fewest of 1, 2, 4 or 8 whose KV cache holds a request of `max_model_len`.
    max_model_len
        At most the model's own counts.
    context_tokens
        Context of the decoding requests.

    Raises
    ------
    ConfigError
        If a setting is out of range, or the step-time model does not know the model.
    """
    check_lengths(max_model_len, context_tokens)
    if len(gpus) > 1 and measured_on_one_gpu(step_time):
        raise ConfigError(f"--step-time {step_time} gives the step times of one kind of GPU: name it with --gpu")
    served: list[Served] = []
    unfit: list[Unfit] = []
    longest = min(max_model_len, model.max_model_len)
    for gpu in gpus:
        try:
            size, blocks, groups = _fewest(
                model, gpu, tensor_parallel_size, gpu_memory_utilization, block_size, longest
            )
        except _DoesNotFit as refused:
            unfit.append(Unfit(gpu.name, str(refused)))
            continue
        timed = make_step_time(step_time, model=model, gpu=gpu, parallel=Parallel(size))
        price = (prices or Prices()).of(gpu.name)
        usd_per_hour = None if price is None else price.usd_per_hour * size
        requests = (blocks - 1) // groups.blocks_of_request(context_tokens, 1)
        running = max(1, min(requests, gpu.default_max_num_seqs))
        served.append(
            Served(
                gpu=gpu.name,
                tensor_parallel_size=size,
                kv_blocks=blocks,
                block_size=groups.block_size,
                kv_tokens=capacity_tokens(model, gpu, groups, blocks),
                requests=requests,
                usd_per_hour=usd_per_hour,
                decode=_step(timed, StepBatch(0, 0, 0, 0, running, running * context_tokens), running, usd_per_hour),
                prefill=_prefill(timed, min(gpu.default_max_num_batched_tokens, model.max_model_len), usd_per_hour),
            )
        )
    served.sort(key=_usd_per_decoded)
    return served, unfit


def _usd_per_decoded(served: Served) -> float:
    return inf if served.decode.usd_per_million_tokens is None else served.decode.usd_per_million_tokens


class _DoesNotFit(Exception):
    """Why a model is not served."""


def _fewest(
    model: ModelSpec, gpu: GpuSpec, wanted: int | None, utilization: float, block_size: int, longest: int
) -> tuple[int, int, Groups]:
    """Return the parallel size, the number of KV blocks with it, and their groups."""
    why = ""
    for size in SIZES if wanted is None else (wanted,):
        try:
            memory = kv_memory(
                model,
                gpu,
                parallel=Parallel(size),
                gpu_memory_utilization=utilization,
                block_size=block_size,
                must_fit=False,
            )
        except ConfigError as refused:  # heads that do not divide, if a smaller split lacked memory
            if not why:
                raise
            why += f"; {refused}"
            break
        groups = model_groups(model, tensor_parallel_size=size, block_size=block_size)
        needed = groups.blocks_of_request(longest, gpu.default_max_num_batched_tokens)
        if needed < memory.blocks:
            return size, memory.blocks, groups
        lacking = needed * memory.block_bytes - memory.kv_bytes
        why = f"{size} lack {lacking / GIB:.1f} GiB each" if size > 1 else f"1 lacks {lacking / GIB:.1f} GiB"
    raise _DoesNotFit(why)


def _prefill(timed: StepTime, tokens: int, usd_per_hour: float | None) -> Step:
    return _step(timed, prefill_of(tokens), tokens, usd_per_hour)


def _step(timed: StepTime, batch: StepBatch, tokens: int, usd_per_hour: float | None) -> Step:
    seconds = timed.step_s(batch)
    usd = None if usd_per_hour is None else usd_per_hour / 3600 * seconds / tokens * 1e6
    return Step(tokens, seconds, usd, _shares(timed.parts(batch)) if isinstance(timed, Roofline) else ())


def _shares(parts: Sequence[Part]) -> tuple[Share, ...]:
    """Add parts of one name, and say what takes most of their time."""
    alike: dict[PartName, list[Part]] = defaultdict(list)
    for part in parts:
        alike[part.name].append(part)
    whole = sum([part.seconds for part in parts])
    shares = []
    for name, some in alike.items():
        taken = {
            "latency": sum([part.latency_s for part in some]),
            "computing": sum([part.compute_s for part in some if part.compute_s > part.memory_s]),
            "links" if name in ("all_reduce", "exchange") else "reading": sum(
                [part.memory_s for part in some if part.compute_s <= part.memory_s]
            ),
        }
        shares.append(
            Share(
                name,
                sum([part.compute_s for part in some]),
                sum([part.memory_s for part in some]),
                taken["latency"],
                sum([part.seconds for part in some]) / whole,
                max(taken, key=lambda kind: taken[kind]),
            )
        )
    return tuple(sorted(shares, key=lambda share: -share.step_share))
