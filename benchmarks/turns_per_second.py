"""Turns simulated per second of one core, in fast and stepwise mode, at light load and saturated.

python benchmarks/turns_per_second.py
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any

import typer
from harness import ENGINE, SEED, Run, make_step_time, report, simulate, swebench, table

from continuum_sim import Program, run

RATES = {"light": 0.02, "saturated": 0.2}
"""Programs per second: at the first the engine is sometimes idle, at the second memory is short from the start."""

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
    repeats: Annotated[int, typer.Option(help="Best of so many rounds over all combinations.")] = 5,
    stepwise_repeats: Annotated[int, typer.Option(help="In so many of these rounds also step by step.")] = 1,
) -> None:
    """Replay the bundled SWE-bench trace in every combination."""
    programs = swebench(limit)
    cells = list(product(RATES, policies.split(","), step_times.split(",")))
    best = {cell: _Best() for cell in cells}
    # Round by round, so that a slow minute of the machine affects all combinations rather than one.
    for number, (load, policy, name) in product(range(repeats), cells):
        settings: dict[str, Any] = {
            "policy": policy,
            "arrivals": f"poisson:rate={RATES[load]}",
            "step_time": make_step_time(name),
        }
        best[load, policy, name].take(programs, settings, stepwise=number < stepwise_repeats)
    rows = [(*cell, *best[cell].row()) for cell in cells]
    text = table(COLUMNS, rows)
    figures = {"turns": sum(len(p.turns) for p in programs), "columns": COLUMNS, "rows": rows}
    report("turns_per_second", text, figures)


@dataclass
class _Best:
    """The fastest runs of one combination: other load on the machine can only add time."""

    fast: Run | None = None
    slow: Run | None = None
    whole_s: float = math.inf

    def take(self, programs: list[Program], settings: dict[str, Any], *, stepwise: bool) -> None:
        """Run it once more."""
        self.fast = _quicker(self.fast, simulate(programs, **settings))
        self.whole_s = min(self.whole_s, _run_s(programs, **settings))
        if stepwise:
            self.slow = _quicker(self.slow, simulate(programs, **settings, stepwise=True))

    def row(self) -> tuple[float, ...]:
        """Return the combination's row of the table."""
        fast, slow = self.fast, self.slow
        assert fast is not None
        assert slow is not None
        turns = len(fast.records.turns)
        speeds = (fast.turns_per_s, slow.turns_per_s, slow.cpu_s / fast.cpu_s, turns / self.whole_s)
        return (*speeds, fast.totals.steps / turns, fast.records.cached_share, fast.records.mean_jct_s)


def _quicker(one: Run | None, other: Run) -> Run:
    return one if one is not None and one.cpu_s <= other.cpu_s else other


def _run_s(programs: list[Program], **settings: Any) -> float:
    """Return CPU seconds of `continuum_sim.run`, which also checks the trace and keeps tables, timeline and summary."""
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
