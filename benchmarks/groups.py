"""Turns simulated per second with several KV cache groups, beside the same engine and load with one.

python benchmarks/groups.py

Every layout has the memory of one group with 20,000 blocks: a block of n equal groups takes an nth of one's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer
from harness import ENGINE, Run, report, simulate, swebench, table

from continuum_sim.engine.groups.spec import GroupSpec

_FULL = GroupSpec("full", 16)
LAYOUTS = {
    "one group": (),
    "full and a window (gpt-oss)": (_FULL, GroupSpec("sliding", 16, 128)),
    "full and five windows (Gemma 3 12B)": (_FULL, *[GroupSpec("sliding", 16, 1024)] * 5),
    "full and three states (Qwen3-Next)": (*[GroupSpec("recurrent", 16)] * 3, _FULL),
}
COLUMNS = ("layout", "turns/s", "of one group", "steps/turn", "cached", "mean JCT s")


def main(
    rate: Annotated[float, typer.Option(help="Programs a second.")] = 0.06,
    limit: Annotated[int, typer.Option(help="First programs of the trace.")] = 60,
    repeats: Annotated[int, typer.Option(help="Best of so many rounds over all layouts.")] = 5,
) -> None:
    """Replay the bundled SWE-bench trace with every layout."""
    programs = swebench(limit)
    best: dict[str, Run] = {}
    for _ in range(repeats):  # round by round, so that a slow minute of the machine affects all layouts
        for name, groups in LAYOUTS.items():
            blocks = ENGINE.num_gpu_blocks * max(1, len(groups))
            config = replace(ENGINE, num_gpu_blocks=blocks, kv_cache_groups=groups)
            run = simulate(programs, arrivals=f"poisson:rate={rate}", config=config)
            if name not in best or run.cpu_s < best[name].cpu_s:
                best[name] = run
    base = best["one group"].turns_per_s
    rows = [
        (
            name,
            run.turns_per_s,
            run.turns_per_s / base,
            run.totals.steps / len(run.records.turns),
            run.records.cached_share,
            run.records.mean_jct_s,
        )
        for name, run in best.items()
    ]
    report("groups", table(COLUMNS, rows), {"rate": rate, "columns": COLUMNS, "rows": rows})


if __name__ == "__main__":
    typer.run(main)
