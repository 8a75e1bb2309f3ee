"""The KV cache groups of a run: which of vLLM's rules its flags and its model leave standing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from continuum_sim.engine.groups.spec import GroupKind, GroupSpec
from continuum_sim.engine.speculation.config import SpeculationConfig
from continuum_sim.errors import ConfigError
from continuum_sim.hardware import ModelSpec
from continuum_sim.hardware.groups import Groups, KVCacheGroup, model_groups

if TYPE_CHECKING:
    from continuum_sim.setup.run_config import RunConfig


def keeps_groups(config: RunConfig) -> bool:
    """Return whether layers that keep different parts of a context have blocks of their own."""
    return not (config.disable_hybrid_kv_cache_manager or _has_one_group(config))


def caches_prefixes(config: RunConfig, model: ModelSpec) -> bool:
    """Return whether prefixes are found again: not without attention, for which vLLM does so only if told to.

    `ModelConfig.is_prefix_caching_supported`; the simulator cannot tell its own default from a flag.
    """
    return config.enable_prefix_caching and (not model.caches or bool(model.attention))


def keeps_states(model: ModelSpec) -> bool:
    """Return whether some layers are recurrent."""
    return any(cache.kind == "recurrent" for cache in model.caches)


def groups_of(config: RunConfig, model: ModelSpec) -> Groups | None:
    """Return the groups of a model in a run; None if they are one that keeps all tokens.

    Raises
    ------
    ConfigError
        If vLLM does not start with them, or they are not modelled above these memory tiers.
    """
    if not model.caches:
        return None
    if keeps_states(model) and _has_one_group(config):
        raise ConfigError(
            f"{model.name} has recurrent layers, whose states are not modelled above --dram-gb or LMCache: give host "
            "memory with --kv-offloading-size"
        )
    groups = model_groups(
        model,
        tensor_parallel_size=config.tensor_parallel_size,
        block_size=config.block_size,
        max_model_len=config.max_model_len,
        prefix_caching=config.enable_prefix_caching,
        hybrid=keeps_groups(config),
    )
    return None if groups.whole else groups


def spec_of(group: KVCacheGroup) -> GroupSpec:
    """Return a group as the engine knows it."""
    return GroupSpec(_kind(group), group.block_size, group.window or 0, checkpoints=group.checkpoints)


def drafter_group(groups: Sequence[GroupSpec], speculation: SpeculationConfig | None) -> int | None:
    """Return the group that vLLM takes for the drafter's: with MTP that of the last layer, which keeps all tokens.

    It knows no group of EAGLE drafters (`_annotate_eagle_groups` of vllm/v1/core/kv_cache_utils.py).
    """
    if speculation is None or speculation.method != "mtp":
        return None
    return max([number for number, group in enumerate(groups) if group.kind == "full"], default=None)


def _has_one_group(config: RunConfig) -> bool:
    """Return whether host memory is of a kind that is modelled below a single group only."""
    lmcache = config.kv_offloading_size and config.kv_offloading_backend == "lmcache"
    return bool(config.dram_gb or lmcache)


def _kind(group: KVCacheGroup) -> GroupKind:
    if group.kind == "recurrent":
        return "recurrent"
    if group.window is None:
        return "full"
    return "chunked" if group.kind == "chunked" else "sliding"
