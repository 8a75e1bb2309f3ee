"""Notes on where a real engine would differ from the simulated run: lengths, memory, windows, foreign step times."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from continuum_sim.engine.config import EngineConfig
from continuum_sim.hardware import GpuSpec, ModelSpec
from continuum_sim.hardware.caches import CacheKind
from continuum_sim.hardware.groups import model_groups
from continuum_sim.hardware.kv import kv_bytes_per_token
from continuum_sim.setup.kv_groups import keeps_groups
from continuum_sim.steptime.common import error_of
from continuum_sim.steptime.measured import measured_elsewhere
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.named import knows_kv_dtypes, measured_on_one_gpu
from continuum_sim.vllm_defaults import BLOCK_SIZE, block_size_notes

if TYPE_CHECKING:
    from continuum_sim.setup.run_config import RunConfig

_KEPT: Final[dict[CacheKind, str]] = {
    "sliding": "attend to a window of {window:,} tokens, and vLLM frees what lies behind: here they keep every token",
    "chunked": "attend to chunks of {window:,} tokens, and vLLM frees what lies behind it: here they keep every token",
}

_COMPRESSED_BLOCK_TOKENS: Final = 256
"""What caches that compress tokens, those of DeepSeek-V4, have by default
(`DeepseekSparseSWABackend.get_preferred_block_size`)."""


def engine_notes(
    config: RunConfig, model: ModelSpec, gpu: GpuSpec, engine: EngineConfig, step_time: StepTime
) -> Iterator[str]:
    """Yield a line for each point where vLLM on this model and GPU would behave differently from the simulation."""
    yield from _length_notes(model, engine)
    yield from block_size_notes(engine.block_size)
    if config.block_size == BLOCK_SIZE and any(cache.tokens_per_state > 1 for cache in model.caches):
        yield (
            f"vLLM takes KV blocks of {_COMPRESSED_BLOCK_TOKENS} tokens for {model.name} unless told otherwise: give "
            f"--block-size {_COMPRESSED_BLOCK_TOKENS}"
        )
    grouped = keeps_groups(config) or config.disable_hybrid_kv_cache_manager
    yield from model_notes(model, grouped=grouped)
    if model.caches and not model.attention:
        yield f"{model.name} keeps states only, and vLLM caches no prefixes of it: each turn computes its whole prompt"
    if not grouped and any(cache.window for cache in model.caches):
        yield "memory tiers are modelled as with vLLM's --disable-hybrid-kv-cache-manager"
    yield from _memory_notes(config, model, engine)
    yield from _draft_notes(config, model, engine)
    yield from _quantised_notes(config, model)
    yield from _kv_dtype_notes(config, model)
    yield from _error_notes(config, gpu)
    if isinstance(config.step_time, str) and measured_on_one_gpu(config.step_time):
        yield from measured_elsewhere(
            step_time.describe().get("provenance"),
            model=model,
            gpu=gpu,
            tensor_parallel_size=config.tensor_parallel_size,
            owner=f"--step-time {config.step_time}",
        )


def _length_notes(model: ModelSpec, engine: EngineConfig) -> Iterator[str]:
    longest = model.longest_model_len or model.max_model_len
    if engine.max_model_len > longest:
        yield (
            f"max_model_len {engine.max_model_len} is above the {longest} positions of {model.name}: vLLM starts so "
            "only with VLLM_ALLOW_LONG_MAX_MODEL_LEN=1"
        )


def _memory_notes(config: RunConfig, model: ModelSpec, engine: EngineConfig) -> Iterator[str]:
    """Yield whether vLLM would refuse to start, and vLLM's own token capacity where its KV cache groups change it."""
    windows = any(cache.window for cache in model.caches)
    if keeps_groups(config) or config.disable_hybrid_kv_cache_manager or not windows:
        needed = engine.blocks_of(engine.max_model_len)
        if needed > engine.usable_blocks:
            yield (
                f"vLLM would not start: one request of max_model_len {engine.max_model_len} needs {needed} KV blocks, "
                f"above the {engine.usable_blocks} there are; set --max-model-len to {engine.most_tokens} or less"
            )
        return
    kv_bytes = kv_bytes_per_token(model, config.tensor_parallel_size) * engine.block_size * engine.num_gpu_blocks
    asked = (int(kv_bytes), engine.max_model_len, engine.max_num_batched_tokens, engine.max_concurrent_batches)
    groups = model_groups(
        model,
        tensor_parallel_size=config.tensor_parallel_size,
        block_size=engine.block_size,
        max_model_len=engine.max_model_len,
    )
    if not groups.starts(*asked):
        yield (
            f"vLLM would not start: its KV cache does not hold a request of max_model_len {engine.max_model_len}; "
            f"set --max-model-len to {groups.estimate_max_model_len(*asked)} or less"
        )
    yield (
        f"of the memory that is counted as {engine.usable_blocks * engine.block_size:,} tokens here vLLM makes "
        f"{groups.capacity_tokens(*asked):,}, in requests of max_model_len {engine.max_model_len}"
    )


def model_notes(model: ModelSpec, *, grouped: bool = True) -> Iterator[str]:
    """Yield a line for each part of a model that is counted differently from vLLM.

    Parameters
    ----------
    grouped
        Whether windows and chunks are kept as asked for.
    """
    yield from model.notes
    for cache in model.caches:
        if cache.kind in _KEPT and not grouped:
            what = _KEPT[cache.kind].format(window=cache.window or 0)
            yield f"{cache.n_layers} of {model.n_layers} layers of {model.name} {what}"


def _draft_notes(config: RunConfig, model: ModelSpec, engine: EngineConfig) -> Iterator[str]:
    speculation = config.speculation
    if speculation is None:
        return
    if config.async_scheduling and not engine.async_scheduling:
        yield f"vLLM {engine.vllm_version} plans no step ahead with {speculation.config.method} drafts"
    if speculation.config.method in ("ngram", "ngram_gpu"):
        yield "n-gram drafts are proposed in every step: where vLLM finds none, its step is shorter"


def _quantised_notes(config: RunConfig, model: ModelSpec) -> Iterator[str]:
    if (
        model.quantization is not None
        and isinstance(config.step_time, str)
        and not measured_on_one_gpu(config.step_time)
    ):
        types = dict.fromkeys(weight.stored.computed for weight in model.weights if weight.stored.computed != "bf16")
        arithmetic = f"in {', '.join(types)} on GPUs with units for it" if types else "as in bf16"
        yield (
            f"weights of {model.name} are stored as {model.quantization}: step times count the bytes read, and "
            f"arithmetic {arithmetic}"
        )


def _error_notes(config: RunConfig, gpu: GpuSpec) -> Iterator[str]:
    error = error_of(config.step_time, gpu)
    if error:
        yield (
            f"step times err by factors with a standard deviation of {100 * error:g} %, one for steps with prompts and "
            "one for all others, drawn by the seed and the same for every policy: intervals over seeds cover them"
        )


def _kv_dtype_notes(config: RunConfig, model: ModelSpec) -> Iterator[str]:
    if model.kv_element_bytes == model.dtype_bytes or not isinstance(config.step_time, str):
        return
    if not knows_kv_dtypes(config.step_time):
        held = f"a KV cache of {config.kv_cache_dtype if config.kv_cache_dtype != 'auto' else model.kv_scheme}"
        yield (
            f"--step-time {config.step_time} knows nothing of {held}: attention takes as long as where it was measured"
        )
