"""Turns simulated a second of one core, in fast and in stepwise mode, at light load and saturated.

python benchmarks/turns_per_second.py
"""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer
from harness import ENGINE, SEED, best, make_step_time, report, swebench, table

from continuum_sim import Program, run

RATES = {"light": 0.02, "saturated": 0.2}
"""Programs a second: at the first the engine idles at times, at the second memory is short from the start."""

COLUMNS = (
    "load",
    "policy",
    "step time",
    "fast turns/s",
    "stepwise",
    "fast / stepwise",
    "whole run()",
    "steps/turn",
    "cached",
    "mean JCT s",
)


def main(
    policies: str = "lru,program-fifo,ttl",
    step_times: str = "fitted,roofline",
    limit: Annotated[int | None, typer.Option(help="First programs of the trace only.")] = None,
    repeats: Annotated[int, typer.Option(help="Best of so many runs, in fast mode.")] = 5,
    stepwise_repeats: int = 1,
) -> None:
    """Replay the bundled SWE-bench trace in every combination."""
    programs = swebench(limit)
    rows = []
    for load, rate in RATES.items():
        for policy in policies.split(","):
            for name in step_times.split(","):
                settings: dict[str, Any] = {
                    "policy": policy,
                    "arrivals": f"poisson:rate={rate}",
                    "step_time": make_step_time(name),
                }
                fast = best(repeats, programs, **settings)
                slow = best(stepwise_repeats, programs, **settings, stepwise=True)
                whole_s = min(_run_s(programs, **settings) for _ in range(repeats))
                turns = len(fast.records.turns)
                speeds = (fast.turns_per_s, slow.turns_per_s, slow.cpu_s / fast.cpu_s, turns / whole_s)
                shown = (fast.totals.steps / turns, fast.records.cached_share, fast.records.mean_jct_s)
                rows.append((load, policy, name, *speeds, *shown))
    text = table(COLUMNS, rows)
    figures = {"turns": sum(len(p.turns) for p in programs), "columns": COLUMNS, "rows": rows}
    report("turns_per_second", text, figures)


def _run_s(programs: list[Program], **settings: Any) -> float:
    """Seconds of a core for `continuum_sim.run`, which checks the trace and keeps tables, a timeline and a summary."""
    start_s = time.process_time()
    run(
        programs,
        kv_blocks=ENGINE.num_gpu_blocks,
        max_num_batched_tokens=ENGINE.max_num_batched_tokens,
        max_num_seqs=ENGINE.max_num_seqs,
        seed=SEED,
        **settings,
    )
    return time.process_time() - start_s


if __name__ == "__main__":
    typer.run(main)
