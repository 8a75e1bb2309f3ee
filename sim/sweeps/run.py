"""Carry out a sweep: send cells to workers and rows to the store, whatever happens in between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, Unpack

from continuum_sim.policies import Policy
from continuum_sim.results.manifest import make_stamp
from continuum_sim.setup.keywords import documented, named
from continuum_sim.setup.settings_dict import BaseSettings
from continuum_sim.sweeps.cell_run import Outcome, run_cell
from continuum_sim.sweeps.plan import SweepPlan, SweepSpec, plan_sweep
from continuum_sim.sweeps.result import Failure, SweepResult, shown_settings
from continuum_sim.sweeps.store import SweepStore, sweep_store
from continuum_sim.sweeps.workers import Backend, Workers

_MOST_PENDING: Final = 256
"""Finished cells held in memory before they are written."""
_LEAST_PERIOD_S: Final = 2.0
_MOST_PERIOD_S: Final = 60.0
_PERIODS: Final = 50
"""Parts are written at intervals of a fiftieth of the elapsed time, within those bounds: a crash costs little, and the
number of files stays small."""


class SweepProgress(NamedTuple):
    """Progress of a sweep."""

    cells: int
    """Cells planned, including those finished earlier."""
    skipped: int
    """Cells finished before this process started."""
    done: int
    """Cells finished by this process."""
    failed: int


OnCells = Callable[[SweepProgress], None]


@documented(BaseSettings)
def sweep(
    policies: Sequence[str | Policy] | str | None = None,
    rates: Sequence[float] | str | None = None,
    seeds: Sequence[int] | str | None = None,
    *,
    vary: Mapping[str, Any] | None = None,
    cells: Sequence[Mapping[str, Any]] = (),
    out: str | PathLike[str] | None = None,
    force: bool = False,
    jobs: int = -1,
    backend: Backend = "local",
    address: str | None = None,
    progress: OnCells | None = None,
    **base: Unpack[BaseSettings],
) -> SweepResult:
    """Simulate every combination of policies, arrival rates, seeds and other axes.

    Parameters
    ----------
    policies, rates, seeds
        Axes: policies, programs per second, seeds of the arrivals (the same for all policies). Lists, or text as on
        the command line.
    vary
        More axes: field of `RunConfig` -> values.
    cells
        Settings that go together; each is crossed with the axes and overrides what it names.
    out
        Directory of the dataset, resumed if it is there; None keeps the data only as long as the result object.
    force
        Whether to start over instead of resuming the sweep in `out`.
    jobs, backend, address
        See `Workers`.
    progress
        Called as cells finish.
    **base
        Settings of all cells that do not vary them: the fields of `RunConfig`.

    Raises
    ------
    ConfigError, PolicyError, TraceError
        Before anything runs, for unknown settings and names. Cells that fail are listed in `failures` instead.
    OSError
        If `out` cannot be written.
    """
    axes = {"policy": policies, "rate": rates, "seed": seeds}
    grid = {**{name: values for name, values in axes.items() if values is not None}, **(vary or {})}
    workers = Workers(jobs, backend, address)
    plan = plan_sweep(SweepSpec(named(sweep, BaseSettings, **base), grid, cells))
    return run_sweep(plan, out=out, force=force, workers=workers, progress=progress)


def run_sweep(
    plan: SweepPlan,
    *,
    workers: Workers,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    progress: OnCells | None = None,
    command: Sequence[str] | None = None,
) -> SweepResult:
    """Run the cells of a plan that the directory does not hold yet.

    Finished cells survive even if this process is killed: each is in `out` within a minute, whole or not at all.
    Parameters and errors as for `sweep`.
    """
    kept = TemporaryDirectory(prefix="continuum-sim-") if out is None else None
    directory = Path(kept.name if kept is not None else str(out))
    with sweep_store(directory, force=force) as store:
        session = _Session(plan, store, progress, make_stamp(command))
        session.run(workers)
    return SweepResult(directory, [cell.id for cell in plan.cells], keep=kept)


class _Session:
    """The work of one process on a sweep."""

    def __init__(self, plan: SweepPlan, store: SweepStore, progress: OnCells | None, stamp: Mapping[str, Any]) -> None:
        self._plan, self._store, self._progress = plan, store, progress
        self._finished = store.open(stamp)
        self._todo = [cell for cell in plan.cells if cell.id not in self._finished]
        self._started_s = self._written_s = time.monotonic()
        self._pending: list[dict[str, Any]] = []
        self._done = 0
        self._failed: dict[str, str] = {}
        self._cell_s = 0.0
        self._log: dict[str, Any] = {name: stamp[name] for name in ("created_at", "command", "platform")}

    def run(self, workers: Workers) -> None:
        self._note_session()
        self._report()
        try:
            with closing(workers.each(run_cell, self._todo)) as outcomes:
                for outcome in outcomes:
                    self._take(outcome)
        finally:
            self._write()
        self._store.compact([cell.id for cell in self._plan.cells])

    def _take(self, outcome: Outcome) -> None:
        self._cell_s += outcome.wall_s
        if outcome.row is None:
            self._failed[outcome.id] = outcome.reason
        else:
            self._pending.append(outcome.row)
            self._done += 1
        self._report()
        now_s = time.monotonic()
        period_s = min(max((now_s - self._started_s) / _PERIODS, _LEAST_PERIOD_S), _MOST_PERIOD_S)
        if len(self._pending) >= _MOST_PENDING or now_s - self._written_s >= period_s:
            self._write()

    def _write(self) -> None:
        if self._pending:
            self._store.write(self._pending)
            self._pending = []
        self._note_session()
        self._store.write_failures([failure.plain() for failure in self._failures()])
        self._written_s = time.monotonic()

    def _failures(self) -> list[Failure]:
        refused = [Failure("", shown_settings(item.settings), item.reason) for item in self._plan.refusals]
        return refused + [
            Failure(cell.id, shown_settings(cell.settings), self._failed[cell.id])
            for cell in self._plan.cells
            if cell.id in self._failed
        ]

    def _note_session(self) -> None:
        manifest = self._store.manifest
        spec = self._plan.spec
        manifest["asked"] = {
            "base": shown_settings(spec.base),
            "grid": {name: _shown_axis(values) for name, values in spec.grid.items()},
            "cells": [shown_settings(entry) for entry in spec.cells],
        }
        asked = [*spec.base, *spec.grid, *(name for entry in spec.cells for name in entry)]
        names = (name.strip().replace("-", "_") for name in asked)
        manifest["axes"] = sorted({*manifest.get("axes", ()), *names})
        manifest["traces"] = self._plan.traces.describe()
        manifest["planned"] = len(self._plan.cells)
        if self._log not in manifest["sessions"]:
            manifest["sessions"].append(self._log)
        self._log |= {
            "skipped": len(self._plan.cells) - len(self._todo),
            "done": self._done,
            "failed": len(self._failed),
            "wall_s": round(time.monotonic() - self._started_s, 3),
            "cells_wall_s": round(self._cell_s, 3),
        }
        self._store.write_manifest()

    def _report(self) -> None:
        if self._progress is not None:
            total = len(self._plan.cells)
            self._progress(SweepProgress(total, total - len(self._todo), self._done, len(self._failed)))


def _shown_axis(values: Any) -> Any:
    if isinstance(values, str):
        return values
    if not isinstance(values, Iterable):
        return _shown_axis([values])
    return [shown_settings({"": value})[""] for value in values]
