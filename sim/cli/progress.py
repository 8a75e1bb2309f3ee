"""Progress bars on a terminal, nothing elsewhere; and a command's progress in words."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Final, TypeVar

from continuum_sim.cli.console import messages
from continuum_sim.interrupts import stop_if_asked, stoppable
from continuum_sim.traces.printable import printable

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TextColumn

    from continuum_sim.results import Progress
    from continuum_sim.setup.resolve import ResolvedRun

_REFRESH_S: Final = 0.1
_Item = TypeVar("_Item")


def described() -> TextColumn:
    """Return the column of a progress bar with its description, which wraps if there is no room."""
    from rich.progress import TextColumn
    from rich.table import Column

    return TextColumn("{task.description}", markup=False, table_column=Column(overflow="fold"))


@contextmanager
def counting(what: str) -> Iterator[Callable[[Iterator[_Item]], Iterator[_Item]]]:
    """Yield a function that passes items through and, on a terminal, shows how many have passed."""
    console = messages()
    if not console.is_terminal:
        yield stoppable
        return
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), MofNCompleteColumn(), TextColumn(what), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        yield lambda items: iter(bar.track(stoppable(items), description=""))


@contextmanager
def share_bar(label: str) -> Iterator[Callable[[float], None]]:
    """Yield a function that takes the share of work done and draws it on a terminal."""
    console = messages()
    if not console.is_terminal:
        yield lambda share: stop_if_asked()
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

    columns = BarColumn(), TaskProgressColumn(), described(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(printable(label), total=1.0)

        def progress(share: float) -> None:
            stop_if_asked()
            bar.update(task, completed=share)

        yield progress


class Bar:
    """Turns done, over `runs` runs of the same trace; drawn at most ten times a second."""

    def __init__(self, run: ResolvedRun, runs: int = 1) -> None:
        self._programs = run.config.length.expected(run.trace.programs, run.arrivals)
        self._turns = round(run.trace.turns * self._programs / run.trace.programs)
        self._runs = runs
        self.runs_done = self._runs_before = 0
        self._programs_done = self._turns_done = 0
        self._sim_s = 0.0
        self._drawn_s = 0.0
        self._bar: RichProgress | None = None

    def __enter__(self) -> Bar:
        console = messages()
        if console.is_terminal:
            from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

            columns = (
                BarColumn(),
                TaskProgressColumn(),
                described(),
                TimeRemainingColumn(),
            )
            self._bar = Progress(*columns, console=console, transient=True, auto_refresh=False)
            self._bar.add_task(str(self), total=self._runs * self._turns)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __str__(self) -> str:
        here = f"{self._programs_done} of {self._programs} programs, {self._sim_s:,.0f} s simulated"
        if self._runs == 1:
            return here
        before = f", {self._runs_before} of them before" if self._runs_before else ""
        runs = f"{self.runs_done} of {self._runs} runs{before}"
        return f"{runs}; {here}" if self._programs_done else runs

    def progress(self, progress: Progress) -> None:
        """Record the progress of the current run; stops here if asked to."""
        stop_if_asked()
        self._programs_done, self._turns_done, self._sim_s = progress
        if self._bar is not None and time.monotonic() - self._drawn_s >= _REFRESH_S:
            self._draw()

    def run_done(self, policy: str, seed: int, before: bool) -> None:
        """Record that a run is done, or was done before; stops here if asked to."""
        stop_if_asked()
        self.runs_done += 1
        self._runs_before += before
        self._programs_done = self._turns_done = 0
        self._sim_s = 0.0
        if self._bar is not None:
            self._draw()

    def _draw(self) -> None:
        assert self._bar is not None
        self._drawn_s = time.monotonic()
        done = self.runs_done * self._turns + self._turns_done
        self._bar.update(self._bar.task_ids[0], completed=done, description=str(self), refresh=True)
