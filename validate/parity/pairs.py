"""Which settings acted together in compared runs: two that each agree may differ together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Final

from continuum_sim.engine.config import EngineConfig
from continuum_sim.vllm_defaults import MIRRORED_VLLM
from continuum_sim.world.clients import ClientConfig

Pair = tuple[str, str]
"""The flags of two settings."""
_OFFLOAD: Final = "--kv-offloading-size"
_STAGES: Final = "--pipeline-parallel-size"
_DRAFTS: Final = "--speculative-config"
EXCLUSIVE: Final = frozenset({("--no-enable-prefix-caching", _OFFLOAD), (_STAGES, _OFFLOAD), (_STAGES, _DRAFTS)})
"""Pairs that cannot act together."""


def acting(config: EngineConfig, clients: ClientConfig) -> dict[str, bool]:
    """Return for every setting that the mirrored version has, by its flag if it has one, whether it acts."""
    found = {
        "--watermark": config.watermark > 0,
        "--no-scheduler-reserve-full-isl": not config.scheduler_reserve_full_isl,
        "--max-num-active-seqs": config.max_num_active_seqs is not None,
        "--long-prefill-token-threshold": config.long_prefill_token_threshold > 0,
        "--long-prefill-token-threshold-adaptive": config.long_prefill_token_threshold_adaptive,
        "--no-enable-chunked-prefill": not config.enable_chunked_prefill,
        "--no-enable-prefix-caching": not config.enable_prefix_caching,
        "--scheduling-policy": config.scheduling_policy == "priority",
        "KV cache groups": bool(config.kv_cache_groups),
        _STAGES: config.pipelined,
        _OFFLOAD: config.tiers is not None,
        "--prefix-cache-retention-interval": config.prefix_cache_retention_interval != 0,
        _DRAFTS: config.speculation is not None,
        "--max-num-queued-reqs": config.max_num_queued_reqs is not None,
        "--max-num-queued-tokens": config.max_num_queued_tokens is not None,
        "--abort-rate": clients.abort_rate > 0,
        "--request-timeout": clients.request_timeout_s < math.inf,
        "--job-timeout": clients.job_timeout_s < math.inf,
    }
    if config.vllm_version != MIRRORED_VLLM:
        found["--prefill-schedule-interval"] = config.prefill_schedule_interval > 1
    return found


def steps_together(acts: Mapping[str, bool], steps: int) -> dict[Pair, int]:
    """Return for any two settings that may both be given the steps in which both acted: all `steps`, or none."""
    pairs = [pair for pair in combinations(acts, 2) if pair not in EXCLUSIVE]
    return {(one, other): steps * (acts[one] and acts[other]) for one, other in pairs}
