"""The progress of a sweep, or of a capacity search, on the terminal."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from continuum_sim.cli.console import messages
from continuum_sim.cli.progress import described
from continuum_sim.interrupts import stop_if_asked

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from continuum_sim.sweeps.run import SweepProgress


class CellBar:
    """Cells done, drawn on a terminal with the time that remains."""

    def __init__(self, cells: int, called: str = "cells") -> None:
        self._cells, self._called = cells, called
        self._skipped = self._done = self._failed = 0
        self._bar: RichProgress | None = None

    def __len__(self) -> int:
        """Number of finished cells."""
        return self._skipped + self._done

    def __str__(self) -> str:
        before = f", {self._skipped:,} of them before" if self._skipped else ""
        failed = f", {self._failed:,} failed" if self._failed else ""
        return f"{len(self):,} of {self._cells:,} {self._called}{before}{failed}"

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
        """Record the progress of the sweep; stops here if asked to."""
        stop_if_asked()
        self._cells, self._skipped, self._done, self._failed = progress
        if self._bar is not None:
            # Only cells of this process count: the speed of an earlier one says nothing about this one's.
            todo = self._cells - self._skipped
            self._bar.update(
                self._bar.task_ids[0], total=todo, completed=self._done + self._failed, description=str(self)
            )
