"""Cost of a turn over output length, prompt length and number of programs; peak memory of a million turns.

python benchmarks/scale.py --picture docs/img/scale.png

Each point runs in its own process, so that its peak memory is its own. 64 workers keep the engine short of memory at
every point; if outputs or prompts grow, the memory grows with them.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import typer
from harness import ENGINE, SEED, best, make_step_time, peak_rss_gib, report, swebench, table
from workloads import cycled, scaled

from continuum_sim import run
from continuum_sim.traces import write_programs

ARRIVALS = "closed:workers=64"
COLUMNS = ("grows", "to", "policy", "turns", "steps/turn", "cached", "us/turn", "turns/s", "wall s", "peak GiB")
AXES = {"outputs": "output length, times", "prompts": "prompt length, times", "turns": "turns in the run"}


@dataclass(frozen=True)
class Point:
    """One measurement: what grows, and its value (a factor, or a number of turns)."""

    grows: str
    to: int
    policy: str
    repeats: int = 1


def main(
    outputs: str = "1,4,16,64",
    prompts: str = "1,4,16",
    turns: str = "3680,10000,30000,100000,300000,1000000",
    policies: str = "lru,ttl",
    repeats: Annotated[int, typer.Option(help="Best of so many, but for the long runs.")] = 3,
    picture: Annotated[Path | None, typer.Option(help="Where to draw the curves.")] = None,
    point: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Measure all points of the three curves."""
    if point is not None:
        print(json.dumps(_measure(Point(**json.loads(point)))))
        return
    grid = {"outputs": outputs, "prompts": prompts, "turns": turns}
    points = [
        Point(grows, int(to), policy, repeats if grows != "turns" else 1)
        for grows, values in grid.items()
        for to in values.split(",")
        for policy in policies.split(",")
    ]
    rows = [(p.grows, p.to, p.policy, *_in_own_process(p)) for p in points]
    if picture is not None:
        _draw(rows, picture)
    report("scale", table(COLUMNS, rows), {"columns": COLUMNS, "rows": rows})


def _in_own_process(point: Point) -> tuple[Any, ...]:
    command = [sys.executable, __file__, "--point", json.dumps(asdict(point))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{point} failed:\n{done.stderr.strip()}")
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def _measure(point: Point) -> tuple[Any, ...]:
    """Return turns, steps per turn, cached share of prompts, µs per turn, turns per second of a core, seconds, GiB."""
    measure = _run_to_files if point.grows == "turns" else _simulate_scaled
    turns, steps, cached, cpu_s, wall_s = measure(point)
    return turns, steps / turns, cached, 1e6 * cpu_s / turns, turns / cpu_s, wall_s, peak_rss_gib()


def _simulate_scaled(point: Point) -> tuple[int, int, float, float, float]:
    base = swebench()
    programs = [scaled(program, **{point.grows: point.to}) for program in base]
    growth = sum(p.max_context_tokens for p in programs) / sum(p.max_context_tokens for p in base)
    longest = max(program.max_context_tokens for program in programs)
    config = replace(ENGINE, num_gpu_blocks=round(ENGINE.num_gpu_blocks * growth), max_model_len=longest + 1)
    quickest = best(point.repeats, programs, policy=point.policy, arrivals=ARRIVALS, config=config)
    return (
        len(quickest.records.turns),
        quickest.totals.steps,
        quickest.records.cached_share,
        quickest.cpu_s,
        quickest.wall_s,
    )


def _run_to_files(point: Point) -> tuple[int, int, float, float, float]:
    """Time all of `continuum-sim run --out`: read the trace from a file, write the results to one."""
    run(swebench(1))  # its imports are not a cost of turns
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.jsonl"
        write_programs(trace, cycled(swebench(), point.to, np.random.default_rng(SEED)))
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        done = run(
            trace,
            point.policy,
            arrivals=ARRIVALS,
            kv_blocks=ENGINE.num_gpu_blocks,
            max_num_batched_tokens=ENGINE.max_num_batched_tokens,
            max_num_seqs=ENGINE.max_num_seqs,
            step_time=make_step_time("fitted"),
            out=Path(folder) / "run",
        )
        cpu_s, wall_s = time.process_time() - start_cpu_s, time.perf_counter() - start_s
    summary, prefill = done.summary, done.summary.prefill
    cached = prefill.cached_tokens / (prefill.cached_tokens + prefill.computed_tokens)
    return summary.turns, summary.steps, cached, cpu_s, wall_s


def _draw(rows: list[tuple[Any, ...]], path: Path) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from matplotlib.ticker import EngFormatter

    figure, panels = plt.subplots(1, len(AXES), figsize=(10, 3.2), sharey=True, layout="constrained")
    for panel, (grows, label) in zip(panels, AXES.items(), strict=True):
        for policy in dict.fromkeys(row[2] for row in rows):
            line = [(row[1], row[6]) for row in rows if row[0] == grows and row[2] == policy]
            panel.plot(*zip(*line, strict=True), marker="o", label=policy)
        panel.set(xscale="log", xlabel=label, ylim=(0, 1.25 * max(row[6] for row in rows)))
        values = sorted({row[1] for row in rows if row[0] == grows})
        panel.set_xticks(values, [EngFormatter(sep="")(value) for value in values])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("microseconds a turn")
    panels[0].legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.tmp")
    figure.savefig(draft, dpi=150, format="png")
    draft.replace(path)


if __name__ == "__main__":
    typer.run(main)
