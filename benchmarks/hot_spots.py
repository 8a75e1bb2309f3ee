"""Where the time of one saturated run goes: the most expensive functions according to cProfile.

python benchmarks/hot_spots.py --policy ttl

The profiler makes calls more expensive than they are: compare shares, and measure changes without it.
"""

from __future__ import annotations

import cProfile
from pathlib import Path
from types import CodeType
from typing import Annotated, Any

import typer
from harness import make_step_time, report, simulate, swebench, table

COLUMNS = ("own share", "calls/turn", "function", "at")


def main(
    policy: str = "lru",
    rate: Annotated[float, typer.Option(help="Programs a second.")] = 0.2,
    step_time: str = "fitted",
    limit: Annotated[int | None, typer.Option(help="First programs of the trace only.")] = None,
    top: int = 10,
) -> None:
    """Profile a replay of the bundled SWE-bench trace in fast mode."""
    programs = swebench(limit)
    settings: dict[str, Any] = {
        "policy": policy,
        "arrivals": f"poisson:rate={rate}",
        "step_time": make_step_time(step_time),
    }
    simulate(programs[:1], **settings)  # exclude imports and cache filling
    profiler = cProfile.Profile()
    run = profiler.runcall(simulate, programs, **settings)
    turns = len(run.records.turns)
    entries = sorted(profiler.getstats(), key=lambda entry: -entry.inlinetime)
    total_s = sum(entry.inlinetime for entry in entries)
    rows = [
        (f"{entry.inlinetime / total_s:.1%}", entry.callcount / turns, *_name_and_place(entry.code))
        for entry in entries[:top]
    ]
    report("hot_spots", table(COLUMNS, rows), {"policy": policy, "rate": rate, "columns": COLUMNS, "rows": rows})


def _name_and_place(code: CodeType | str) -> tuple[str, str]:
    if isinstance(code, str):
        return code.strip("<>"), "built in"
    return code.co_qualname, f"{'/'.join(Path(code.co_filename).parts[-2:])}:{code.co_firstlineno}"


if __name__ == "__main__":
    typer.run(main)
