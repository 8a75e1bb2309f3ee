"""Load directories and results into `FigureData`."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

import pandas as pd

from continuum_sim.capacities.result import CapacityResult
from continuum_sim.capacities.store import CAPACITY, load_capacity
from continuum_sim.errors import ConfigError
from continuum_sim.plotting.data import (
    CAPACITY_RATES,
    METRICS,
    SERVED,
    FigureData,
    Source,
    arrival_settings,
    measured,
    settings,
)
from continuum_sim.plotting.held import setting_columns
from continuum_sim.plotting.swept import is_sweep, swept_cells
from continuum_sim.results.compared import ComparedRun, CompareResult
from continuum_sim.results.files import MANIFEST, SUMMARY
from continuum_sim.results.manifest_parts import ComparisonParts, read_manifest
from continuum_sim.results.result import RunResult, load_run
from continuum_sim.results.unfinished import COMPARISON, refuse_unfinished
from continuum_sim.sweeps.result import SweepResult, load_sweep
from continuum_sim.traces.arrivals import Closed

Drawable: TypeAlias = str | PathLike[str] | RunResult | CompareResult | SweepResult | CapacityResult | FigureData
"""A directory of results, or results in memory."""


def load(data: Drawable | Iterable[Drawable]) -> FigureData:
    """Combine all data to draw.

    Parameters
    ----------
    data
        A run directory, a comparison directory, a sweep's dataset, a directory that holds several of these,
        a `RunResult`, `CompareResult` or `SweepResult`; or several of them.

    Raises
    ------
    ConfigError
        If a directory holds no results, or the same run appears twice.
    """
    if isinstance(data, FigureData):
        return data
    if isinstance(data, str | PathLike | RunResult | CompareResult | SweepResult | CapacityResult):
        data = [data]
    parts = list(data)
    found = [one for part in parts for one in _runs(part)]
    if not parts:
        raise ConfigError("nothing to draw: give at least one directory of results")
    if not found:
        raise ConfigError(f"nothing to draw: no run has finished in {', '.join(map(str, parts))}")
    cells, sources = zip(*found, strict=True)
    return FigureData(_once(pd.DataFrame(list(cells))), sources)


def _runs(part: Drawable) -> Iterator[tuple[dict[str, Any], Source | None]]:
    if isinstance(part, RunResult):
        yield _cell(part), part
    elif isinstance(part, CompareResult):
        yield from _compared(part)
    elif isinstance(part, SweepResult):
        yield from swept_cells(part)
    elif isinstance(part, CapacityResult):
        yield from _points(part)
    elif isinstance(part, FigureData):
        yield from part.rows()
    else:
        yield from _directory(Path(part))


def _cell(run: RunResult) -> dict[str, Any]:
    return {**settings(run.summary, run.manifest), **measured(run.summary)}


def _points(found: CapacityResult) -> Iterator[tuple[dict[str, Any], Source | None]]:
    """Yield points of service curves as runs of closed loads that have nothing but a rate."""
    for item in found.policies:
        empty = item.from_empty_per_s
        rates = (item.recoverable_per_s.value, empty.value, empty.median)
        for point in item.service_curve:
            yield (
                {
                    "policy": item.policy,
                    "seed": found.seeds[0],
                    "trace": found.trace,
                    "population": "trace",
                    "model": found.model,
                    "gpu": found.gpus,
                    **arrival_settings(f"{Closed.name}:workers={point.n}"),
                    **dict.fromkeys(METRICS, math.nan),
                    **dict(zip(SERVED, (point.per_s, point.low, point.high), strict=True)),
                    **{
                        name: math.nan if rate is None else rate
                        for name, rate in zip(CAPACITY_RATES, rates, strict=True)
                    },
                },
                None,
            )


def _compared(result: CompareResult) -> Iterator[tuple[dict[str, Any], Source | None]]:
    if result.directory is not None:
        yield from _directory(result.directory)
        return
    for run in result.runs:
        yield {**settings(run.summary, None), **measured(run.summary)}, _ProgramsAlone(run)


class _ProgramsAlone:
    """A run of a comparison in memory, which keeps only the table of programs."""

    def __init__(self, run: ComparedRun) -> None:
        self._run, self.summary = run, run.summary

    def table(self, name: str) -> Any:
        if name != "programs":
            raise ConfigError(f"a comparison in memory keeps no table {name!r}")
        return self._run.programs


def _directory(path: Path, *, deeper: bool = True) -> Iterator[tuple[dict[str, Any], Source | None]]:
    if not path.is_dir():
        what = "is a file, expected a directory of results" if path.exists() else "does not exist"
        raise ConfigError(f"{path} {what}")
    if (path / SUMMARY).is_file():
        run = load_run(path)
        yield _cell(run), run
    elif (path / COMPARISON).is_file():
        for name in _run_names(path):
            yield from _directory(path / name, deeper=False)
    elif is_sweep(path):
        yield from swept_cells(load_sweep(path))
    elif (path / CAPACITY).is_file():
        yield from _points(load_capacity(path))
    else:
        refuse_unfinished(path)
        inside = [child for child in sorted(path.iterdir()) if _is_results(child)] if deeper else []
        if not inside:
            raise ConfigError(
                f"{path} holds no results, expected a directory written by run, compare, sweep or capacity --out"
            )
        for child in inside:
            yield from _directory(child, deeper=False)


def _is_results(path: Path) -> bool:
    if path.name.startswith(".") or not path.is_dir():
        return False
    return any((path / name).is_file() for name in (SUMMARY, COMPARISON, CAPACITY)) or is_sweep(path)


def _run_names(path: Path) -> list[str]:
    try:
        return read_manifest(path / MANIFEST, ComparisonParts)[1].runs
    except ConfigError as error:
        raise ConfigError(f"{path} is not a comparison: {error}") from None


def _once(cells: pd.DataFrame) -> pd.DataFrame:
    """Refuse a run that appears twice, as it would count as two seeds."""
    chosen = cells[setting_columns(cells)].astype(str)
    twice = cells[chosen.duplicated()]
    if len(twice):
        one = twice.iloc[0]
        raise ConfigError(f"policy {one['policy']!r}, seed {one['seed']} appears twice with the same settings")
    return cells
