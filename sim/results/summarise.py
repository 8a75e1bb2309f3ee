"""From the totals of a finished run to its summary."""

from __future__ import annotations

from collections.abc import Iterable

from continuum_sim.engine.config import EngineConfig
from continuum_sim.results.summary import Kv, Pins, PolicyActivity, Summary, Throughput
from continuum_sim.results.tally import Tally
from continuum_sim.totals import EngineTotals


def summarise(
    tally: Tally,
    totals: EngineTotals,
    engine: EngineConfig,
    *,
    policy: str,
    trace: str,
    arrivals: str,
    seed: int,
    wall_s: float,
    notes: Iterable[str],
) -> Summary:
    """Put a run in numbers; `tally` must have seen at least one program."""
    return Summary(
        policy=policy,
        trace=trace,
        arrivals=arrivals,
        seed=seed,
        programs=tally.programs,
        turns=tally.turns,
        steps=totals.steps,
        sim_s=totals.end_s,
        busy_s=totals.busy_s,
        wall_s=wall_s,
        jct_s=tally.quantiles(tally.jct_s),
        queue_wait_s=tally.quantiles(tally.queue_wait_s),
        ttft_s=tally.quantiles(tally.ttft_s),
        time_s=tally.time_s,
        time_share=tally.time_share,
        prefill=tally.prefill,
        preemptions=tally.preemptions,
        pins=Pins(totals.pins_made, totals.pins_hit, totals.pins_expired, totals.pins_broken),
        kv=Kv(
            blocks=engine.num_gpu_blocks,
            block_size=engine.block_size,
            peak_used_share=totals.peak_used_blocks / totals.usable_blocks,
            pinned_block_seconds=totals.pinned_block_seconds,
        ),
        throughput=Throughput(tally.programs / totals.end_s, tally.output_tokens / totals.end_s),
        policy_activity=PolicyActivity(totals.evictions, totals.reorders, totals.holds),
        notes=list(notes),
    )
