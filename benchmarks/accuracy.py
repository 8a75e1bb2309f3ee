"""How far off step times are, and runs simulated with them: all recordings and kernel tables in a folder.

python benchmarks/accuracy.py FOLDER

Folders with `attention.csv` are kernel tables (`--step-time profiled:DIR`): each row of theirs is a step, which models
predict. Files that `backtest` can read are recordings of engines; what one does not say about its engine stands in
`accuracy.toml` beside it, as keywords of `run_backtest` (gpu = "h100"). What is furthest off comes first; errors beyond
3 % of a mean, 5 % of a p95, 10 % of TTFT, or 5 % (median) and 10 % (90th percentile) of single steps are bold.

Models are those that `--step-time` has for the GPU. `roofline` is also tried without each of its terms, and, as on a
GPU that nobody measured, with the mean shares of the peaks that all other GPUs reach.
"""

from __future__ import annotations

import csv
import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from statistics import fmean
from typing import Annotated, Any

import numpy as np
import typer
from harness import report, table
from rich.progress import track

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, ModelSpec, find_gpu, find_model, gpus
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime import Roofline, StepBatch, StepTime
from continuum_sim.steptime.aiconfigurator import HOST_OVERHEAD_S, load_aiconfigurator
from continuum_sim.steptime.batch import prefill_of
from continuum_sim.steptime.profile_tables import read_profile
from continuum_sim.steptime.profiled import Profiled, load_profiled
from continuum_sim.steptime.roofline import SHARES, Settings
from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded import read_recorded, run_backtest
from continuum_sim.validate.recorded.engine import choose
from continuum_sim.validate.recorded.log import EngineSetup, RecordedLog

WITHOUT: dict[str, dict[str, Any]] = {
    "roofline without tiles": {"tiled_attention": None},
    "roofline without waves": {"tile_waves": None},
    "roofline without L2": {"l2_bytes": 0.0},
}
"""Fields of the GPU that turn a term off."""

CLASSES = {"decode": 0, "prompt": 0, "to 64": 64, "to 256": 256, "to 1,024": 1024, "more": 10**9}
"""Steps that decode, of prompts, and with both, by the prompts' new tokens."""
STEPS = ("model", "kernel table", *CLASSES)
METRICS = ("end_to_end", "ttft", "tpot")
RUNS = ("model", "recording", "e2e", "p95", "TTFT", "p95", "TPOT", "p95", "tokens/s", "KV use")
BARS = {"mean": 0.03, "p95": 0.05, "TTFT": 0.10, "median": 0.05, "p90": 0.10}
"""Errors beyond which a figure is marked."""

Row = tuple[Any, ...]
"""Model, and where it was judged; then its errors."""


@dataclass(frozen=True)
class Table:
    """Kernels measured on one GPU of a split."""

    folder: Path
    model: ModelSpec
    gpu: GpuSpec
    parallel: Parallel
    measured: StepTime

    def steps(self) -> Iterator[tuple[str, StepBatch]]:
        """Yield the class and the batch of each row of its attention."""
        with (self.folder / "attention.csv").open(encoding="utf-8") as lines:
            for row in csv.DictReader(lines):
                names = ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
                chunk, cached, decodes, each = (round(float(row[name])) for name in names)
                if chunk or decodes:
                    prompt = prefill_of(chunk, cached) if chunk else StepBatch(0, 0, 0, 0, 0, 0)
                    batch = prompt._replace(decode_requests=decodes, decode_context_tokens=decodes * each)
                    yield _class(chunk, decodes), batch


def _class(chunk: int, decodes: int) -> str:
    if not chunk or not decodes:
        return "prompt" if chunk else "decode"
    return next(name for name, most in CLASSES.items() if chunk <= most)


def find_tables(folder: Path) -> Iterator[Table]:
    """Yield the kernel tables in a folder and those below it."""
    for path in sorted(folder.rglob("attention.csv")):
        try:
            kernels = read_profile(path.parent, unequal_contexts=False)  # as its rows are
            model, gpu = find_model(kernels.meta.get("model", "")), find_gpu(kernels.meta.get("gpu", ""))
            parallel = Parallel(kernels.split or 1)
            measured = Profiled(kernels, model, parallel, gpu=gpu)
        except ConfigError as error:
            print(f"left out: {path.parent}: {error}")
            continue
        yield Table(path.parent, model, gpu, parallel, measured)


def models_of(
    model: ModelSpec, gpu: GpuSpec, parallel: Parallel, host_overhead_s: float
) -> Iterator[tuple[str, StepTime]]:
    """Yield step times that were not measured on this very GPU, by name; those that do not know it are left out."""
    makers: dict[str, Callable[[], StepTime]] = {
        "roofline": lambda: Roofline(model, gpu, parallel),
        "aiconfigurator": lambda: load_aiconfigurator(model, gpu, parallel, host_overhead_s),
        "roofline, GPU left out": lambda: Roofline(model, gpu, parallel, _of_others(gpu)),
    }
    for name, off in WITHOUT.items():
        if any(getattr(gpu, field) != value for field, value in off.items()):
            makers[name] = lambda off=off: Roofline(model, replace(gpu, **off), parallel)  # type: ignore[misc]
    for name, make in makers.items():
        try:
            yield name, make()
        except ConfigError:
            continue


def _of_others(gpu: GpuSpec) -> Settings:
    others = [other for other in gpus() if other.name != gpu.name and other.measured != gpu.measured]
    return Settings(**{name: fmean(getattr(other, name) for other in others) for name in SHARES})


def judge_steps(measured: Table, name: str, model: StepTime) -> Row:
    """Return the absolute errors of a model by class of step: median and 90th percentile."""
    errors = defaultdict(list)
    for step, batch in measured.steps():
        errors[step].append(abs(model.step_s(batch) / measured.measured.step_s(batch) - 1))
    where = f"{measured.gpu.name}, {measured.model.name}, {measured.parallel.tensor_parallel_size} GPU"
    found = [tuple(map(float, np.quantile(errors[step], (0.5, 0.9)))) if errors[step] else None for step in CLASSES]
    return (name, where, *found)


def find_recordings(folder: Path) -> Iterator[tuple[RecordedLog, dict[str, Any]]]:
    """Yield the recordings that `backtest` reads, with what is said of their engines."""
    for path in sorted((*folder.rglob("*.jsonl"), *folder.rglob("*.json"))):
        about = path.with_name("accuracy.toml")
        said = tomllib.loads(about.read_text("utf-8")) if about.exists() else {}
        try:
            yield read_recorded(path, said.get("format")), said
        except (TraceError, ConfigError):
            continue


def judge_run(path: Path, said: dict[str, Any], name: str, step_time: str | StepTime) -> Row:
    """Return the errors of one recording, replayed with a model; None for what it does not tell."""
    found = run_backtest(path, **said, step_time=step_time)
    by_name = {metric.name: {figure.name: figure.error for figure in metric.figures} for metric in found.metrics}
    errors = [by_name.get(metric, {}).get(figure) for metric in METRICS for figure in ("mean", "p95")]
    rates = {figure.name: figure.error for figure in found.run}
    gauges = [] if found.gauges is None else found.gauges.gauges
    used = next((g.simulated_mean / g.recorded_mean - 1 for g in gauges if g.name == "kv_share"), None)
    return (name, path.parent.name, *errors, rates["output_tokens_per_s"], used)


def judge_recording(log: RecordedLog, said: dict[str, Any], tables: list[Table]) -> Iterator[Row]:
    """Yield one row for each model that has step times of a recording's engine."""
    given = {item.name: said[item.name] for item in fields(EngineSetup) if item.name in said}
    engine = choose(log, EngineSetup(**given)).settings
    model, gpu, path = find_model(engine["model"]), find_gpu(engine["gpu"]), log.path
    parallel = Parallel(engine["tensor_parallel_size"] or 1)
    for name, step_time in models_of(model, gpu, parallel, HOST_OVERHEAD_S):
        yield judge_run(path, said, name, step_time)
    for one in tables:
        if (one.model.name, one.gpu.name, one.parallel) == (model.name, gpu.name, parallel):
            profiled = load_profiled(one.folder, model, parallel, gpu=gpu)
            yield judge_run(path, said, "profiled", profiled)


def main(folder: Annotated[Path, typer.Argument(help="With recordings and kernel tables, at any depth.")]) -> None:
    """Judge every step-time model on everything in a folder."""
    tables = list(find_tables(folder))
    steps: list[Row] = []
    for one in track(tables, "kernel tables", transient=True):
        for name, model in models_of(one.model, one.gpu, one.parallel, 0.0):
            steps.append(judge_steps(one, name, model))
    runs: list[Row] = []
    for log, said in track(list(find_recordings(folder)), "recordings", transient=True):
        runs += judge_recording(log, said, tables)
    steps.sort(key=lambda row: -max(cell[0] for cell in row[2:] if cell is not None))
    runs.sort(key=lambda row: -max(abs(cell) for cell in row[2:] if cell is not None))
    parts = []
    if runs:
        bars = ["", "", *("mean", "p95", "TTFT", "TTFT", "mean", "p95", "mean", "mean")]
        parts.append(table(RUNS, [[_run_cell(*pair) for pair in zip(row, bars, strict=True)] for row in runs]))
    if steps:
        parts.append(table(STEPS, [[_step_cell(cell) for cell in row] for row in steps]))
    text = "\n\n".join(parts) or f"{folder}: holds no kernel table or recording"
    report("accuracy", text, {"rows": [*runs, *steps]})


def _run_cell(cell: Any, bar: str) -> str:
    if not isinstance(cell, float):
        return "–" if cell is None else str(cell)
    return _marked(f"{100 * cell:+.1f} %", abs(cell) > BARS[bar])


def _step_cell(cell: Any) -> str:
    if not isinstance(cell, tuple):
        return "–" if cell is None else str(cell)
    return _marked(f"{100 * cell[0]:.0f}, {100 * cell[1]:.0f} %", cell[0] > BARS["median"] or cell[1] > BARS["p90"])


def _marked(text: str, beyond: bool) -> str:
    return f"**{text}**" if beyond else text


if __name__ == "__main__":
    typer.run(main)
