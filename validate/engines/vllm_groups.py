"""The KV cache groups of a vLLM engine, as the simulator's. Runs inside the engine."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.errors import ConfigError


def groups_of(kv_cache_config: Any) -> dict[str, Any]:
    """Return the groups of a scheduler's `KVCacheConfig`, and how much of their windows can be found again.

    One group that keeps all tokens needs no description.

    Raises
    ------
    ConfigError
        If a group follows a rule that the simulator does not have; the message names it.
    """
    groups = [_group(group.kv_cache_spec) for group in kv_cache_config.kv_cache_groups]
    if [group.kind for group in groups] == ["full"]:
        groups = []
    return {
        "kv_cache_groups": [asdict(group) for group in groups],
        "prefix_cache_retention_interval": kv_cache_config.prefix_cache_retention_interval if groups else 0,
    }


def _group(spec: Any) -> GroupSpec:
    from vllm.v1.kv_cache_interface import ChunkedLocalAttentionSpec, FullAttentionSpec, MambaSpec, SlidingWindowSpec

    spec = getattr(spec, "first_spec", spec)  # layers of one kind and several shapes
    if isinstance(spec, FullAttentionSpec):
        return GroupSpec("full", spec.block_size)
    if isinstance(spec, SlidingWindowSpec):
        return GroupSpec("sliding", spec.block_size, spec.sliding_window)
    if isinstance(spec, ChunkedLocalAttentionSpec):
        return GroupSpec("chunked", spec.block_size, spec.attention_chunk_size)
    if isinstance(spec, MambaSpec):
        return GroupSpec("recurrent", spec.block_size, checkpoints=spec.num_prefill_checkpoint_blocks > 0)
    raise ConfigError(f"the model's KV cache has groups of kind {type(spec).__name__}, which are not simulated")
