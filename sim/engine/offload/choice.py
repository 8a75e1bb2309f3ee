"""Which connector an engine has."""

from __future__ import annotations

from collections.abc import Callable

from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.offload.connector import NoConnector, TierConnector
from continuum_sim.engine.offload.native_groups import GroupConnector
from continuum_sim.engine.offload.native_runs import RunConnector
from continuum_sim.engine.offload.tiers import Tiers
from continuum_sim.policies.planes import Retention


def make_connector(
    config: EngineConfig, pool: BlockPool, retention: Retention, prefill_s: Callable[[int], float]
) -> NoConnector:
    """Return the connector to an engine's tiers, or the null connector if it has none."""
    if config.tiers is None:
        return NoConnector(prefill_s)
    if config.tiers.native:
        native = GroupConnector if config.kv_cache_groups else RunConnector
        return native(config.tiers, config.block_size, prefill_s, vllm_version=config.vllm_version)
    tiers = Tiers(config.tiers, config.block_size, prefill_s)
    return TierConnector(tiers, pool, config.block_size, retention, prefill_s)
