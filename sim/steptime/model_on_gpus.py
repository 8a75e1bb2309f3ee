"""One model on each GPU: the fewest it fits, how many requests, what its steps take and cost, and what limits them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from math import inf
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, ModelSpec, kv_memory
from continuum_sim.hardware.gpus import GIB
from continuum_sim.hardware.groups import Groups, model_groups
from continuum_sim.hardware.parallel import ONE_GPU, Parallel
from continuum_sim.hardware.prices import Prices
from continuum_sim.hardware.split_rules import check_split
from continuum_sim.hardware.splits import split_text
from continuum_sim.steptime.adjusted import parts_of
from continuum_sim.steptime.batch import StepBatch, prefill_of
from continuum_sim.steptime.machines import SIZES, capacity_tokens, check_lengths
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.named import measured_on_one_gpu
from continuum_sim.steptime.parts import Part, PartName
from continuum_sim.steptime.piped import pipeline_times
from continuum_sim.vllm_defaults import GPU_MEMORY_UTILIZATION

COMMUNICATION: Final[tuple[PartName, ...]] = ("all_reduce", "exchange")
"""Kinds of work that GPUs do with one another."""


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
    """New tokens of each rank: of one prompt, or one of each decoding request of one batch."""
    step_s: float
    """Through all stages of a pipeline."""
    usd_per_million_tokens: float | None
    """None if the price is not known."""
    shares: tuple[Share, ...]
    """Largest first; empty if the step-time model does not tell."""
    communication_s: float | None
    """Of `step_s`, all-reduces, exchanges between experts and what stages send on, as far as no other work hides them;
    None if the model does not tell."""


@dataclass(frozen=True)
class Served:
    """The model on some GPUs."""

    gpu: str
    gpus: int
    split: str
    """As for `--split`; empty for one GPU."""
    tensor_parallel_size: int
    kv_blocks: int
    """Of each data-parallel rank, as what follows."""
    block_size: int
    """Tokens, which recurrent states may raise."""
    kv_tokens: int
    """As vLLM logs them for requests of the model's `max_model_len`."""
    kv_tokens_of_all: int
    """Of all ranks."""
    requests: int
    """Requests of the given context that fit while they decode."""
    usd_per_hour: float | None
    decode: Step
    """As many of these requests as `max_num_seqs` allows, in as many batches as there are stages."""
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
    splits: Sequence[Parallel] = (),
    links: Parallel = ONE_GPU,
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
    splits
        Splits to describe instead, each on every GPU.
    links
        What it says of links holds for all.
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
    sizes = SIZES if tensor_parallel_size is None else (tensor_parallel_size,)
    asked = [[_linked(split, links)] for split in splits] or [[_linked(Parallel(size), links) for size in sizes]]
    for gpu, tried in product(gpus, asked):
        try:
            parallel, blocks, groups = _first_that_fits(model, gpu, tried, gpu_memory_utilization, block_size, longest)
        except _DoesNotFit as refused:
            unfit.append(Unfit(gpu.name, str(refused)))
            continue
        served.append(_served(model, gpu, parallel, blocks, groups, context_tokens, step_time, prices or Prices()))
    served.sort(key=_usd_per_decoded)
    return served, unfit


def _linked(parallel: Parallel, links: Parallel) -> Parallel:
    names = ("link", "node_link", "all2all_backend", "enable_dbo")
    return replace(parallel, **{name: getattr(links, name) for name in names})


def _usd_per_decoded(served: Served) -> float:
    return inf if served.decode.usd_per_million_tokens is None else served.decode.usd_per_million_tokens


class _DoesNotFit(Exception):
    """Why a model is not served."""


def _first_that_fits(
    model: ModelSpec, gpu: GpuSpec, tried: Sequence[Parallel], utilization: float, block_size: int, longest: int
) -> tuple[Parallel, int, Groups]:
    """Return the split, the number of KV blocks with it, and their groups."""
    why = ""
    for parallel in tried:
        try:
            check_split(model, parallel)
            memory = kv_memory(
                model,
                gpu,
                parallel=parallel,
                gpu_memory_utilization=utilization,
                block_size=block_size,
                must_fit=False,
            )
        except ConfigError as refused:  # heads that do not divide, if a smaller split lacked memory
            if not why:
                raise
            why += f"; {refused}"
            break
        groups = model_groups(model, tensor_parallel_size=parallel.tensor_parallel_size, block_size=block_size)
        needed = groups.blocks_of_request(longest, gpu.default_max_num_batched_tokens)
        if needed < memory.blocks:
            return parallel, memory.blocks, groups
        lacking = needed * memory.block_bytes - memory.kv_bytes
        size = parallel.gpus
        split = "" if parallel.tensor_parallel_size == size else f" with {split_text(parallel)}"
        why = f"{size} lack {lacking / GIB:.1f} GiB each{split}" if size > 1 else f"1 lacks {lacking / GIB:.1f} GiB"
    raise _DoesNotFit(why)


def _served(
    model: ModelSpec,
    gpu: GpuSpec,
    parallel: Parallel,
    blocks: int,
    groups: Groups,
    context_tokens: int,
    step_time: str,
    prices: Prices,
) -> Served:
    pipeline, handed_s = pipeline_times(step_time, model=model, gpu=gpu, parallel=parallel)
    price = prices.of(gpu.name)
    usd_per_hour = None if price is None else price.usd_per_hour * parallel.gpus
    requests = (blocks - 1) // groups.blocks_of_request(context_tokens, 1)
    batch = -(-max(1, min(requests, gpu.default_max_num_seqs)) // len(pipeline))
    # Of each rank, as all ranks step alike.
    usd_of_rank = None if usd_per_hour is None else usd_per_hour / parallel.data_parallel_size
    tokens = min(gpu.default_max_num_batched_tokens, model.max_model_len)
    kv_tokens = capacity_tokens(model, gpu, groups, blocks, batches=len(pipeline) + 1)
    return Served(
        gpu=gpu.name,
        gpus=parallel.gpus,
        split=split_text(parallel),
        tensor_parallel_size=parallel.tensor_parallel_size,
        kv_blocks=blocks,
        block_size=groups.block_size,
        kv_tokens=kv_tokens,
        kv_tokens_of_all=kv_tokens * parallel.data_parallel_size,
        requests=requests,
        usd_per_hour=usd_per_hour,
        decode=_step(pipeline, handed_s, StepBatch(0, 0, 0, 0, batch, batch * context_tokens), batch, usd_of_rank),
        prefill=_step(pipeline, handed_s, prefill_of(tokens), tokens, usd_of_rank),
    )


def _step(
    pipeline: Sequence[StepTime],
    handed_s: Callable[[StepBatch], float],
    batch: StepBatch,
    tokens: int,
    usd_per_hour: float | None,
) -> Step:
    """Return a batch's way through all stages. It costs what the slowest takes: others are in the rest meanwhile."""
    each_s = [timed.step_s(batch) for timed in pipeline]
    usd = None if usd_per_hour is None else usd_per_hour / 3600 * max(each_s) / tokens * 1e6
    parts = [part for timed in pipeline for part in parts_of(timed, batch)]
    sent_s = (len(pipeline) - 1) * handed_s(batch)
    hidden_s = sum([part.seconds for part in parts]) - sum(each_s)  # two batches overlap
    between_s = sent_s - hidden_s + sum([part.seconds for part in parts if part.name in COMMUNICATION])
    return Step(tokens, sum(each_s) + sent_s, usd, _shares(parts), between_s if parts else None)


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
            "links" if name in COMMUNICATION else "reading": sum(
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
