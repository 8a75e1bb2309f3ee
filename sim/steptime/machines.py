"""What a GPU offers a model: KV capacity, and step times under every step-time model that knows both."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, ModelSpec, kv_blocks
from continuum_sim.hardware.groups import Groups, model_groups
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime.aiconfigurator import estimate_kv_blocks, installed
from continuum_sim.steptime.batch import StepBatch, prefill_of
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.named import make_step_time
from continuum_sim.vllm_defaults import GPU_MEMORY_UTILIZATION

SIZES = (1, 2, 4, 8)
"""Parallel sizes to try, smallest first, if none is given."""


@dataclass(frozen=True)
class StepTimes:
    """Seconds of some typical steps."""

    step_time: str
    """The step-time model, as for `--step-time`."""
    decode_1_s: float
    """One turn decoding at the given context."""
    decode_32_s: float
    """32 turns decoding, each at that context."""
    prefill_2k_s: float
    """2,048 new tokens of one turn, with nothing before them."""
    prefill_8k_s: float
    """8,192 new tokens of one turn in one step, with nothing before them."""


@dataclass(frozen=True)
class Machine:
    """One model on one engine."""

    model: str
    gpu: str
    tensor_parallel_size: int
    kv_blocks: int
    """As estimated by `run`, like vLLM's `num_gpu_blocks`."""
    kv_tokens: int
    """As vLLM logs them: of requests of the model's `max_model_len` if layers keep different parts of a context."""
    kv_blocks_aiconfigurator: int | None
    """As estimated by aiconfigurator; None if it is not installed or does not know the pair."""
    step_times: tuple[StepTimes, ...]


def machines(
    models: Sequence[ModelSpec],
    gpus: Sequence[GpuSpec],
    *,
    tensor_parallel_size: int | None = None,
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION,
    block_size: int = 16,
    max_model_len: int = 32768,
    context_tokens: int = 4096,
    step_times: Sequence[str] | None = None,
) -> list[Machine]:
    """Describe every model on every GPU that can hold it.

    Parameters
    ----------
    models, gpus
        What to combine; pairs that do not fit are left out.
    tensor_parallel_size
        GPUs per model; None takes the fewest of 1, 2, 4 or 8 whose KV cache holds `max_model_len` tokens.
    gpu_memory_utilization, block_size
        As for `run`.
    max_model_len
        Tokens that must fit for a machine to be listed.
    context_tokens
        Context of the decoding turns.
    step_times
        Step-time models, as for `run`. None takes the roofline, and aiconfigurator if it is installed, leaving out one
        that does not know the pair. A model requested by name must know it.

    Raises
    ------
    ConfigError
        If a setting is out of range, or nothing fits.
    """
    check_lengths(max_model_len, context_tokens)
    found = []
    refused: ConfigError | None = None
    for model in models:
        for gpu in gpus:
            try:
                size, blocks = _fit(model, gpu, tensor_parallel_size, gpu_memory_utilization, block_size, max_model_len)
            except ConfigError as error:
                refused = refused or error
                continue
            settings = {
                "tensor_parallel_size": size,
                "gpu_memory_utilization": gpu_memory_utilization,
                "block_size": block_size,
            }
            found.append(
                Machine(
                    model=model.name,
                    gpu=gpu.name,
                    tensor_parallel_size=size,
                    kv_blocks=blocks,
                    kv_tokens=capacity_tokens(
                        model, gpu, model_groups(model, tensor_parallel_size=size, block_size=block_size), blocks
                    ),
                    kv_blocks_aiconfigurator=_other_blocks(model, gpu, settings),
                    step_times=tuple(_step_times(model, gpu, size, context_tokens, step_times)),
                )
            )
    if not found and refused is not None:
        raise refused
    return found


def capacity_tokens(model: ModelSpec, gpu: GpuSpec, groups: Groups, blocks: int, batches: int = 2) -> int:
    """Return the tokens of so many blocks, as vLLM logs them with its defaults, with so many `batches` under way."""
    if groups.whole:
        return blocks * groups.block_size
    in_flight = batches * gpu.default_max_num_batched_tokens
    return int(blocks / groups.blocks_of_request(model.max_model_len, in_flight) * model.max_model_len)


def check_lengths(max_model_len: int, context_tokens: int) -> None:
    """Refuse lengths of no tokens.

    Raises
    ------
    ConfigError
        Naming the one.
    """
    for name, value in (("max_model_len", max_model_len), ("context_tokens", context_tokens)):
        if value < 1:
            raise ConfigError(f"{name} is {value}, expected at least 1")


def _fit(
    model: ModelSpec, gpu: GpuSpec, wanted: int | None, utilization: float, block_size: int, least_tokens: int
) -> tuple[int, int]:
    """Return the parallel size, and the number of KV blocks with it."""
    sizes = SIZES if wanted is None else (wanted,)
    for size in sizes:
        try:
            blocks = kv_blocks(
                model, gpu, parallel=Parallel(size), gpu_memory_utilization=utilization, block_size=block_size
            )
        except ConfigError:
            if size == sizes[-1]:
                raise
            continue
        groups = model_groups(model, tensor_parallel_size=size, block_size=block_size)
        tokens = capacity_tokens(model, gpu, groups, blocks)
        if tokens >= least_tokens:
            return size, blocks
    raise ConfigError(
        f"{model.name} on {sizes[-1]} x {gpu.name} has {tokens:,} tokens of KV cache, below the {least_tokens:,} "
        "asked for"
    )


def _other_blocks(model: ModelSpec, gpu: GpuSpec, settings: dict[str, int | float]) -> int | None:
    if installed() is None or model.kv_element_bytes != model.dtype_bytes:  # it estimates bf16 caches only
        return None
    try:
        return estimate_kv_blocks(model, gpu, **settings)  # type: ignore[arg-type]
    except ConfigError:
        return None


def _step_times(
    model: ModelSpec, gpu: GpuSpec, size: int, context_tokens: int, asked: Sequence[str] | None
) -> list[StepTimes]:
    specs = asked if asked is not None else ("roofline", *(("aiconfigurator",) if installed() else ()))
    rows = []
    for spec in specs:
        try:
            step_time = make_step_time(spec, model=model, gpu=gpu, parallel=Parallel(size))
        except ConfigError:
            if asked is not None:
                raise
            continue
        rows.append(_row(spec, step_time, context_tokens))
    return rows


def _row(spec: str, step_time: StepTime, context_tokens: int) -> StepTimes:
    def prefill_s(tokens: int) -> float:
        return step_time.step_s(prefill_of(tokens))

    def decode_s(requests: int) -> float:
        return step_time.step_s(StepBatch(0, 0, 0, 0, requests, requests * context_tokens))

    return StepTimes(spec, decode_s(1), decode_s(32), prefill_s(2048), prefill_s(8192))
