"""The stages of a pipeline: each has some of a model's layers, and is a model of its own to memory and step times."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.caches import CacheLayers
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.weights import Weight

_PAIRED: Final = ("longcat_flash",)
"""Types whose layers attend twice, and count as two here: a stage has whole ones (`vllm/.../longcat_flash.py`)."""


_BOTH_EVERYWHERE: Final = (
    *("chatglm", "dbrx", "falcon_mamba", "gpt_oss", "gptj", "hy_v3", "internlm2", "jamba", "minimax_m3_text"),
    *("mixtral", "nemotron_h", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe", "qwen3_next", "qwen3_omni_moe_text"),
    *("qwen3_vl_moe_text", "stablelm"),
)
"""Types whose classes make embeddings and LM head on every stage (`tests/oracles/splits.json`)."""

_EMBEDS_EVERYWHERE: Final = (
    *_BOTH_EVERYWHERE,
    *("bloom", "cohere", "cohere2", "falcon", "gemma", "gemma2", "gemma3_text", "gemma4_text", "gpt2", "granitemoe"),
    *("granitemoehybrid", "lfm2", "lfm2_moe", "mamba", "minicpm", "minicpm3", "opt", "qwen3_5_moe_text"),
    "qwen3_5_text",
)
"""Types whose classes make the embeddings so: all but the first have no use for them, but memory."""


def stage_layers(model: ModelSpec, pipeline_parallel_size: int) -> tuple[range, ...]:
    """Return the layers of every stage, as vLLM's `get_pp_indices` (`vllm/distributed/utils.py`).

    Layers that do not divide evenly go one each to the stages before the last, from the back.

    Raises
    ------
    ConfigError
        If there are more stages than layers.
    """
    each = 2 if model.model_type in _PAIRED else 1
    n_layers, stages = model.n_layers // each, pipeline_parallel_size
    if stages > n_layers:
        raise ConfigError(f"pipeline_parallel_size is {stages}, above the {n_layers} layers of {model.name}")
    counts = [n_layers // stages] * stages
    for place in range(2, n_layers % stages + 2):
        counts[-place] += 1
    starts = [each * sum(counts[:stage]) for stage in range(stages)]
    return tuple(range(start, start + each * count) for start, count in zip(starts, counts, strict=True))


@lru_cache(maxsize=64)
def stages(model: ModelSpec, parallel: Parallel) -> tuple[ModelSpec, ...]:
    """Return the models that the stages run, in the order in which a token passes them; the model itself if it is one.

    Raises
    ------
    ConfigError
        If there are more stages than layers.
    """
    size = parallel.pipeline_parallel_size
    if size == 1:
        return (model,)
    last = size - 1
    return tuple(
        _stage(model, layers, first=place == 0, last=place == last)
        for place, layers in enumerate(stage_layers(model, size))
    )


def _stage(model: ModelSpec, layers: range, *, first: bool, last: bool) -> ModelSpec:
    """Return one stage, its layers numbered from 0."""
    return replace(
        model,
        n_layers=len(layers),
        caches=tuple(
            replace(cache, layers=_numbered(cache.layers, layers), borrowers=_numbered(cache.borrowers, layers))
            for cache in model.caches
            if _any_in(cache, layers)
        ),
        weights=tuple(
            one for weight in model.weights if (one := _weight(model, weight, layers, first, last)) is not None
        ),
        has_head=last,
    )


def _weight(model: ModelSpec, weight: Weight, layers: range, first: bool, last: bool) -> Weight | None:
    """Return what a stage has of a weight; None for nothing. Every stage has the towers that read images."""
    if weight.use == "tower":
        return weight
    if weight.layers:
        having = _numbered(weight.layers, layers)
        return replace(weight, layers=having) if having else None
    if weight.use == "table":  # tied, it is the LM head too
        there = first or (last and model.tied_embeddings) or model.model_type in _EMBEDS_EVERYWHERE
        return weight if there else None
    return weight if last or (weight.use == "head" and model.model_type in _BOTH_EVERYWHERE) else None


def _any_in(cache: CacheLayers, layers: range) -> bool:
    return any(layer in layers for layer in (*cache.layers, *cache.borrowers))


def _numbered(some: Sequence[int], layers: range) -> tuple[int, ...]:
    return tuple(layer - layers.start for layer in some if layer in layers)
