"""What an engine counted over a whole run."""

from __future__ import annotations

from dataclasses import dataclass

from continuum_sim.engine.replica import Replica


@dataclass(frozen=True, slots=True)
class EngineTotals:
    """Counts of one engine over a whole run."""

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
    )
