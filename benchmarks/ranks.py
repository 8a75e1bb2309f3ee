"""What a turn costs to simulate on data-parallel ranks, beside one on a single engine under the same load a rank.

python benchmarks/ranks.py
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from itertools import product
from typing import Annotated

import numpy as np
import typer
from harness import ENGINE, SEED, Records, make_step_time, report, swebench, table

from continuum_sim import Program
from continuum_sim.setup.notation import parse_arrivals, parse_policy, parse_routing
from continuum_sim.steptime import StepTime
from continuum_sim.world.simulation import Simulation

KINDS = {"independent": False, "lockstep": True}
COLUMNS = (
    "ranks",
    "router",
    "step time",
    *(f"{kind}, µs/turn" for kind in KINDS),
    *(f"{kind} / one" for kind in KINDS),
)


def main(
    ranks: str = "1,2,4,8",
    routers: str = "session-affinity,vllm-balancer",
    step_times: str = "fitted,roofline",
    rate: Annotated[float, typer.Option(help="Programs per second and rank.")] = 0.1,
    limit: Annotated[int, typer.Option(help="Programs per rank.")] = 30,
    repeats: Annotated[int, typer.Option(help="Best of so many rounds over all combinations.")] = 3,
) -> None:
    """Replay the bundled SWE-bench trace on more and more ranks."""
    sizes = [int(size) for size in ranks.split(",")]
    cells = list(product(sizes, routers.split(","), step_times.split(","), KINDS))
    best = dict.fromkeys(cells, math.inf)
    for _, cell in product(range(repeats), cells):
        size, router, name, kind = cell
        best[cell] = min(best[cell], _turn_s(size, router, make_step_time(name), KINDS[kind], rate, limit))
    rows = []
    for size, router, name in product(sizes, routers.split(","), step_times.split(",")):
        costs = [best[size, router, name, kind] for kind in KINDS]
        ones = [best[sizes[0], router, name, kind] for kind in KINDS]
        ratios = [cost / one for cost, one in zip(costs, ones, strict=True)]
        rows.append((size, router, name, *(round(cost * 1e6, 1) for cost in costs), *(round(r, 2) for r in ratios)))
    report("ranks", table(COLUMNS, rows), {"columns": COLUMNS, "rows": rows})


def _turn_s(ranks: int, router: str, step_time: StepTime, lockstep: bool, rate: float, limit: int) -> float:
    """Return the processor seconds of one turn: other load on the machine matters less."""
    programs = _programs(ranks, limit)
    records = Records()
    simulation = Simulation(
        policy=parse_policy("lru"),
        config=ENGINE,
        step_time=step_time,
        recorder=records,
        timeline=False,
        ranks=ranks,
        lockstep=lockstep,
        routing=parse_routing(router),
    )
    started_s = time.process_time()
    simulation.run(programs, parse_arrivals(f"poisson:rate={rate * ranks}"), np.random.default_rng(SEED))
    return (time.process_time() - started_s) / len(records.turns)


def _programs(ranks: int, limit: int) -> list[Program]:
    """Return the first programs of the trace, as often as there are ranks, under names of their own."""
    return [
        replace(program, program_id=f"{program.program_id} {copy}")
        for program in swebench(limit)
        for copy in range(ranks)
    ]


if __name__ == "__main__":
    typer.run(main)
