"""A sweep on the terminal: how far it is, what came out, what failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final

from continuum_sim.cli.console import messages
from continuum_sim.cli.progress import described
from continuum_sim.cli.tables import StackedTable, name, numbers
from continuum_sim.interrupts import stop_if_asked
from continuum_sim.results.jsonfile import to_json
from continuum_sim.results.numbers import percent, seconds

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from continuum_sim.sweeps.result import Failure, SweepResult
    from continuum_sim.sweeps.run import SweepProgress

_SHOWN: Final = {
    "mean JCT s": "jct_mean_s",
    "p95": "jct_p95_s",
    "p99": "jct_p99_s",
    "queue": "queue_s",
    "prefill": "prefill_s",
    "decode": "decode_s",
    "tool": "tool_s",
    "programs/h": "programs_per_s",
    "from cache": "cached_share",
    "busy": "busy_share",
}
"""Column of the table -> column of the dataset: means over the seeds."""
_MOST_ROWS: Final = 60
_MOST_REASONS: Final = 20


class CellBar:
    """Cells done, drawn on a terminal with the time that remains."""

    def __init__(self, cells: int) -> None:
        self._cells = cells
        self._skipped = self._done = self._failed = 0
        self._bar: RichProgress | None = None

    def __len__(self) -> int:
        """Cells that are finished."""
        return self._skipped + self._done

    def __str__(self) -> str:
        before = f", {self._skipped:,} of them before" if self._skipped else ""
        failed = f", {self._failed:,} failed" if self._failed else ""
        return f"{len(self):,} of {self._cells:,} cells{before}{failed}"

    def __enter__(self) -> CellBar:
        console = messages()
        if console.is_terminal:
            from rich.progress import (
                BarColumn,
                Progress,
                TaskProgressColumn,
                TextColumn,
                TimeElapsedColumn,
                TimeRemainingColumn,
            )

            columns = (
                *(BarColumn(), TaskProgressColumn(), described()),
                *(TimeElapsedColumn(), TextColumn("remaining"), TimeRemainingColumn()),
            )
            self._bar = Progress(*columns, console=console, transient=True, refresh_per_second=4)
            self._bar.add_task(str(self), total=None)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, progress: SweepProgress) -> None:
        """Take note of how far the sweep is; a place to stop."""
        stop_if_asked()
        self._cells, self._skipped, self._done, self._failed = progress
        if self._bar is not None:
            # Counted from this start on: the speed of an earlier process says nothing about this one's.
            todo = self._cells - self._skipped
            self._bar.update(
                self._bar.task_ids[0], total=todo, completed=self._done + self._failed, description=str(self)
            )


def sweep_view(result: SweepResult) -> StackedTable:
    """Lay a sweep out, one row a combination of what varies besides the seed."""
    rows = _rows(result)
    scene = [axis for axis in result.axes if axis != "seed"]
    table = StackedTable([*map(name, scene), *numbers("seeds", *_SHOWN)])
    for row in rows[:_MOST_ROWS]:
        where = [_plain(row[axis]) for axis in scene]
        table.add_row(*where, str(row["seeds"]), *(_number(title, row[column]) for title, column in _SHOWN.items()))
    if len(rows) > _MOST_ROWS:
        table.caption = f"the first {_MOST_ROWS} of {len(rows):,} rows; all of them with --json or from the dataset"
    return table


def sweep_json(result: SweepResult) -> str:
    """Return the same as JSON, with the failures."""
    rows = _rows(result) if len(result) else []
    return to_json({"cells": len(result), "rows": rows, "failures": [item.plain() for item in result.failures]})


def failures_view(failures: Sequence[Failure]) -> list[str]:
    """List why cells failed, a line a reason with the settings that its cells share."""
    of_reason: dict[str, list[Failure]] = {}
    for failure in failures:
        of_reason.setdefault(failure.reason, []).append(failure)
    groups = list(of_reason.values())
    lines = [f"failed: {_alike(group)}" for group in groups[:_MOST_REASONS]]
    if len(groups) > _MOST_REASONS:
        lines.append(f"… and {sum(map(len, groups[_MOST_REASONS:])):,} cells more, in failures.json")
    return lines


def _alike(failures: Sequence[Failure]) -> str:
    first, *others = failures
    if not others:
        return str(first)
    shared = {
        name: value
        for name, value in first.settings.items()
        if all(name in other.settings and other.settings[name] == value for other in others)
    }
    return f"{len(failures):,} cells, {replace(first, settings=shared)}"


def _rows(result: SweepResult) -> list[dict[str, Any]]:
    frame = result.frame()
    scene = [name for name in result.axes if name != "seed"]
    frame["seeds"] = 1
    told = {**dict.fromkeys(_SHOWN.values(), "mean"), "seeds": "sum"}
    if not scene:
        return [{name: getattr(frame[name], how)() for name, how in told.items()}]
    means = frame.groupby(scene, sort=False, dropna=False).agg(told).reset_index()
    return [{str(name): value for name, value in row.items()} for row in means.to_dict("records")]


def _number(title: str, value: float) -> str:
    if title.startswith("programs"):
        return f"{3600 * value:,.1f}"
    return percent(value) if title in ("from cache", "busy") else seconds(value)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)
