"""Counts of engines over a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from continuum_sim.engine.offload.tiers import TierTotals, sum_tiers
from continuum_sim.engine.replica import Replica
from continuum_sim.policies.host.counts import PolicyCounts


@dataclass(frozen=True, slots=True)
class EngineTotals:
    """Counts of one engine over a whole run, or of all engines of a cluster together."""

    steps: int
    end_s: float
    busy_s: float
    preemptions: int
    peak_used_blocks: int
    usable_blocks: int
    counts: PolicyCounts
    """Counts of what the policy did."""
    replicas: int = 1
    verifications: int = 0
    """Steps of a turn that verified drafts."""
    drafted_tokens: int = 0
    """Drafts that they verified."""
    accepted_tokens: int = 0
    """Those accepted."""
    tiers: tuple[TierTotals, ...] = ()
    """Lower memory tiers, nearest first."""

    def plain(self) -> dict[str, Any]:
        """Return the totals as JSON can hold them, with the policy's counts at the same level."""
        plain = asdict(self)
        return {**plain, **plain.pop("counts")}


def totals_of(replica: Replica) -> EngineTotals:
    """Return the totals of a replica at the end of a run."""
    scheduler = replica.scheduler
    drafts = scheduler.drafts
    return EngineTotals(
        steps=scheduler.step,
        end_s=replica.now_s,
        busy_s=replica.busy_s,
        preemptions=scheduler.preemptions,
        peak_used_blocks=scheduler.kv_cache_manager.peak_used_blocks,
        usable_blocks=scheduler.config.usable_blocks,
        counts=scheduler.governor.counts,
        verifications=0 if drafts is None else drafts.verifications,
        drafted_tokens=0 if drafts is None else drafts.drafted_tokens,
        accepted_tokens=0 if drafts is None else drafts.accepted_tokens,
        tiers=scheduler.connector.totals(replica.now_s),
    )


def sum_totals(parts: Sequence[EngineTotals]) -> EngineTotals:
    """Add up the totals of several engines; the end is the latest."""
    if len(parts) == 1:
        return parts[0]
    names = dict.fromkeys(tier.name for part in parts for tier in part.tiers)
    sums = _sums(EngineTotals, parts, besides=("end_s", "counts", "tiers"))
    return EngineTotals(
        **sums,
        end_s=max(part.end_s for part in parts),
        counts=PolicyCounts(**_sums(PolicyCounts, [part.counts for part in parts])),
        tiers=tuple(sum_tiers([tier for part in parts for tier in part.tiers if tier.name == name]) for name in names),
    )


def _sums(kind: type[Any], parts: Sequence[Any], besides: Sequence[str] = ()) -> dict[str, Any]:
    """Return every field of a dataclass summed over its instances."""
    names = [item.name for item in fields(kind) if item.name not in besides]
    return {name: sum(getattr(part, name) for part in parts) for name in names}
