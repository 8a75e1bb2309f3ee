"""Which pool and manager of blocks an engine has."""

from __future__ import annotations

from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.manager import GroupedKVCacheManager
from continuum_sim.engine.groups.pool import GroupedBlockPool
from continuum_sim.engine.kv_cache_manager import KVCacheManager
from continuum_sim.engine.speculation.groups import SpeculativeGroupManager
from continuum_sim.engine.speculation.manager import SpeculativeKVCacheManager


def make_pool(config: EngineConfig) -> BlockPool:
    """Return the blocks of an engine, all of them blank."""
    return GroupedBlockPool(config.usable_blocks) if config.kv_cache_groups else BlockPool(config.usable_blocks)


def make_kv_cache_manager(config: EngineConfig, pool: BlockPool) -> KVCacheManager:
    """Return the manager for one group that keeps all tokens, with drafts or without, or for other groups."""
    if isinstance(pool, GroupedBlockPool) and config.speculation is not None:
        return SpeculativeGroupManager(pool, config)
    if isinstance(pool, GroupedBlockPool):
        return GroupedKVCacheManager(pool, config)
    if config.speculation is not None:
        return SpeculativeKVCacheManager(pool, config)
    return KVCacheManager(pool, config.block_size, caches=config.enable_prefix_caching)
