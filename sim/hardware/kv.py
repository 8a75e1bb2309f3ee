"""How much KV cache fits beside the weights: vLLM measures it by profiling, here it is estimated from shapes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil
from typing import Final, Protocol

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.gpus import GIB, GpuSpec
from continuum_sim.hardware.groups import model_groups
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import ONE_GPU, Parallel
from continuum_sim.hardware.profiled_memory import CURRENT, Profile, activations_bytes, runtime_bytes
from continuum_sim.hardware.stages import stage_layers, stages
from continuum_sim.vllm_defaults import GPU_MEMORY_UTILIZATION

_KV_DTYPE_BYTES: Final = {"bfloat16": 2, "float16": 2, "float32": 4, "fp8": 1, "fp8_e4m3": 1, "fp8_e5m2": 1}
"""Types for vLLM's ``--kv-cache-dtype`` (``vllm/config/cache.py``) -> bytes per element. Scales are kept per layer, not
per block."""


class DraftMemory(Protocol):
    """What a drafter takes of each GPU's memory."""

    def weight_bytes_per_rank(self, parallel: Parallel) -> int:
        """Memory of its own weights."""

    def kv_bytes_per_token(self, tensor_parallel_size: int) -> float:
        """Bytes of its KV cache that a token takes."""


@dataclass(frozen=True)
class KvMemory:
    """Use of one GPU's memory, in a pipeline one of the stage that has room for the fewest blocks; all in bytes."""

    usable_bytes: int
    """`gpu_memory_utilization` of the GPU's memory."""
    weights_bytes: int
    activations_bytes: int
    """Peak of a full batch: the MLP of the largest step or the sampler of the largest batch, whichever is larger."""
    runtime_bytes: int
    """CUDA graphs, communication buffers and other memory outside PyTorch."""
    block_bytes: int
    """One KV block over all layers of its group."""

    @property
    def kv_bytes(self) -> int:
        """What remains for the KV cache; negative if nothing does."""
        return self.usable_bytes - self.weights_bytes - self.activations_bytes - self.runtime_bytes

    @property
    def blocks(self) -> int:
        """KV blocks that fit, as vLLM's `num_gpu_blocks`: one of them is its null block."""
        return self.kv_bytes // self.block_bytes


def kv_bytes_per_token(
    model: ModelSpec, tensor_parallel_size: int = 1, kv_dtype: str = "auto", context_tokens: int | None = None
) -> float:
    """Return the bytes of KV cache that one token takes on each GPU.

    Parameters
    ----------
    model, tensor_parallel_size, kv_dtype
        As vLLM's flags; KV heads that do not divide over the GPUs are replicated.
    context_tokens
        Matters only for sliding-window models. None counts every token in every layer, which is what vLLM stores
        without its hybrid KV cache manager. With the manager, a sliding layer keeps at most its window: a token of a
        request of `context_tokens` tokens then takes this much on average (vLLM rounds to blocks and keeps the
        running chunk too, so the true figure is slightly higher).

    Raises
    ------
    ConfigError
        For an unknown dtype or a parallel size the heads do not divide over.
    """
    element_bytes = kv_dtype_bytes(model, kv_dtype)
    total = 0.0
    model.known_caches()
    for cache in model.attention:
        heads = kv_heads_per_gpu(model, tensor_parallel_size, cache)
        windowed = cache.window is not None and context_tokens is not None
        kept = min(1.0, cache.window / context_tokens) if windowed else 1  # type: ignore[operator]
        total += heads * cache.content_bytes(element_bytes) / cache.tokens_per_state * cache.n_layers * kept
    return total


def kv_memory(
    model: ModelSpec,
    gpu: GpuSpec,
    *,
    parallel: Parallel = ONE_GPU,
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION,
    block_size: int = 16,
    max_num_batched_tokens: int | None = None,
    max_num_seqs: int | None = None,
    kv_dtype: str = "auto",
    context_tokens: int | None = None,
    hybrid: bool = True,
    drafter: DraftMemory | None = None,
    profile: Profile = CURRENT,
    must_fit: bool = True,
) -> KvMemory:
    """Estimate how `vllm serve` uses each GPU's memory; None takes its default for the GPU.

    A block is one of the model's KV cache groups (`model_groups`, also for `hybrid`), unless `context_tokens` asks for
    an average. The layers of a `drafter` keep a context too, in the last stage of a pipeline. A `profile` is that of
    another version of vLLM. Unless it `must_fit`, memory that is lacking is returned too. All data-parallel ranks are
    alike, each with a KV cache of its own.

    Raises
    ------
    ConfigError
        If a setting is out of range, nothing remains for the KV cache, or vLLM does not start.
    """
    if not 0 < gpu_memory_utilization <= 1:
        raise ConfigError(f"gpu_memory_utilization is {gpu_memory_utilization}, expected more than 0 and at most 1")
    if block_size < 1:
        raise ConfigError(f"block_size is {block_size}, expected a positive number of tokens")
    tokens = max_num_batched_tokens or gpu.default_max_num_batched_tokens
    requests = min(max_num_seqs or gpu.default_max_num_seqs, tokens)
    model = served_with(model, kv_dtype)
    block_bytes = _block_bytes_of_stages(model, parallel, block_size, context_tokens, hybrid=hybrid)
    parts = stages(model, parallel)
    weights_bytes = [part.weight_bytes_per_rank(parallel) for part in parts]
    if drafter is not None:
        weights_bytes[-1] += drafter.weight_bytes_per_rank(parallel)
        block_bytes[-1] += ceil(drafter.kv_bytes_per_token(parallel.tensor_parallel_size) * block_size)
    communicating = parallel.gpus if model.n_experts else parallel.gpus // parallel.data_parallel_size
    memory = min(
        (
            KvMemory(
                usable_bytes=int(gpu_memory_utilization * gpu.memory_bytes),
                weights_bytes=weights,
                activations_bytes=activations_bytes(part, parallel, tokens, requests, profile, receives=place > 0),
                runtime_bytes=runtime_bytes(communicating, profile),
                block_bytes=block,
            )
            for place, (part, weights, block) in enumerate(zip(parts, weights_bytes, block_bytes, strict=True))
            if block  # layers that keep nothing set no bound
        ),
        key=lambda memory: memory.blocks,
    )
    if must_fit and memory.blocks < 2:
        raise ConfigError(_does_not_fit(model, gpu, parallel, gpu_memory_utilization, memory))
    return memory


def kv_blocks(
    model: ModelSpec,
    gpu: GpuSpec,
    *,
    parallel: Parallel = ONE_GPU,
    gpu_memory_utilization: float = GPU_MEMORY_UTILIZATION,
    block_size: int = 16,
    max_num_batched_tokens: int | None = None,
    max_num_seqs: int | None = None,
    kv_dtype: str = "auto",
    context_tokens: int | None = None,
    hybrid: bool = True,
    drafter: DraftMemory | None = None,
) -> int:
    """Return the KV blocks of one engine, as vLLM's `num_gpu_blocks`; for parameters and errors see `kv_memory`."""
    return kv_memory(
        model,
        gpu,
        parallel=parallel,
        gpu_memory_utilization=gpu_memory_utilization,
        block_size=block_size,
        max_num_batched_tokens=max_num_batched_tokens,
        max_num_seqs=max_num_seqs,
        kv_dtype=kv_dtype,
        context_tokens=context_tokens,
        hybrid=hybrid,
        drafter=drafter,
    ).blocks


def kv_heads_per_gpu(model: ModelSpec, tensor_parallel_size: int, cache: CacheLayers) -> int:
    """Return the KV heads of some layers on each GPU: divided, or replicated if there are fewer heads than GPUs.

    Raises
    ------
    ConfigError
        If the heads do not divide over the GPUs.
    """
    size, heads, kv_heads = tensor_parallel_size, cache.n_heads, cache.n_kv_heads
    if size < 1 or heads % size or (kv_heads % size and size % kv_heads):
        raise ConfigError(
            f"tensor_parallel_size is {size}, which {model.name}'s {heads} query and {kv_heads} KV heads "
            "do not divide over: use a power of two up to 8"
        )
    return cache.kv_heads_on(size)


def kv_dtype_bytes(model: ModelSpec, kv_dtype: str) -> int:
    """Return the bytes of one KV element; `auto` is the model's own type.

    Raises
    ------
    ConfigError
        For an unknown type.
    """
    if kv_dtype == "auto":
        return model.kv_element_bytes
    if kv_dtype not in _KV_DTYPE_BYTES:
        raise ConfigError(f"kv_dtype is {kv_dtype!r}, expected auto or one of {', '.join(_KV_DTYPE_BYTES)}")
    return _KV_DTYPE_BYTES[kv_dtype]


def served_with(model: ModelSpec, kv_dtype: str) -> ModelSpec:
    """Return the model with its KV cache in a type of vLLM's ``--kv-cache-dtype``; `auto` leaves it unchanged.

    Raises
    ------
    ConfigError
        For an unknown type.
    """
    if kv_dtype == "auto":
        return model
    return replace(model, kv_dtype_bytes=kv_dtype_bytes(model, kv_dtype))


def _block_bytes_of_stages(
    model: ModelSpec, parallel: Parallel, block_size: int, context_tokens: int | None, *, hybrid: bool
) -> list[int]:
    """Return the bytes of a block on each stage, of which vLLM groups the layers of the whole model."""
    size = parallel.tensor_parallel_size
    parts = stages(model, parallel)
    if context_tokens is not None:
        return [ceil(kv_bytes_per_token(part, size, context_tokens=context_tokens) * block_size) for part in parts]
    for cache in model.attention:
        kv_heads_per_gpu(model, size, cache)
    groups = model_groups(model, tensor_parallel_size=size, block_size=block_size, hybrid=hybrid)
    layers = stage_layers(model, parallel.pipeline_parallel_size)
    return [groups.stage_bytes_per_block(some) for some in layers]


def _does_not_fit(model: ModelSpec, gpu: GpuSpec, parallel: Parallel, utilization: float, memory: KvMemory) -> str:
    need = memory.usable_bytes - memory.kv_bytes
    return (
        f"{model.name} does not fit {parallel.gpus} x {gpu.name}: weights and working memory take "
        f"{need / GIB:.1f} GiB a GPU, {utilization:g} of its memory is {memory.usable_bytes / GIB:.1f} GiB; raise "
        "--tensor-parallel-size or --gpu-memory-utilization, or take a larger GPU"
    )
