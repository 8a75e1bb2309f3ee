"""What engines counted over a whole run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

from continuum_sim.engine.replica import Replica
from continuum_sim.engine.tiers import TierTotals, sum_tiers


@dataclass(frozen=True, slots=True)
class EngineTotals:
    """Counts of one engine over a whole run, or of all engines of a cluster together."""

    steps: int
    end_s: float
    busy_s: float
    preemptions: int
    peak_used_blocks: int
    usable_blocks: int
    pins_made: int
    pins_hit: int
    pins_expired: int
    pins_broken: int
    pinned_block_seconds: float
    evictions: int
    reorders: int
    holds: int
    pins_moved: int = 0
    """Pins that ended because their programs were sent to another replica."""
    replicas: int = 1
    offloads: int = 0
    """Contexts that the policy sent to host memory."""
    recalls: int = 0
    """Contexts that it brought back ahead of the next turn."""
    tiers: tuple[TierTotals, ...] = ()
    """Lower memory tiers, nearest first."""


def totals_of(replica: Replica) -> EngineTotals:
    """Read the counts of a replica off at the end of a run."""
    scheduler, counts = replica.scheduler, replica.scheduler.governor.counts
    return EngineTotals(
        steps=scheduler.step,
        end_s=replica.now_s,
        busy_s=replica.busy_s,
        preemptions=scheduler.preemptions,
        peak_used_blocks=scheduler.peak_used_blocks,
        usable_blocks=scheduler.config.usable_blocks,
        pins_made=counts.pins_made,
        pins_hit=counts.pins_hit,
        pins_expired=counts.pins_expired,
        pins_broken=counts.pins_broken,
        pinned_block_seconds=counts.pinned_block_seconds,
        evictions=counts.evictions,
        reorders=counts.reorders,
        holds=counts.holds,
        pins_moved=counts.pins_moved,
        offloads=counts.offloads,
        recalls=counts.recalls,
        tiers=() if scheduler.tiers is None else scheduler.tiers.totals(replica.now_s),
    )


def sum_totals(parts: Sequence[EngineTotals]) -> EngineTotals:
    """Add the counts of several engines up; the end is the last one's."""
    if len(parts) == 1:
        return parts[0]
    sums = {
        item.name: sum(getattr(part, item.name) for part in parts)
        for item in fields(EngineTotals)
        if item.name != "tiers"
    }
    names = dict.fromkeys(tier.name for part in parts for tier in part.tiers)
    tiers = tuple(sum_tiers([tier for part in parts for tier in part.tiers if tier.name == name]) for name in names)
    return EngineTotals(**{**sums, "end_s": max(part.end_s for part in parts), "tiers": tiers})
