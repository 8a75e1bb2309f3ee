"""A progress bar for work whose share done is known; drawn on a terminal only."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from continuum_sim.cli.console import messages
from continuum_sim.cli.progress import described
from continuum_sim.interrupts import stop_if_asked
from continuum_sim.traces.printable import printable


@contextmanager
def share_bar(label: str) -> Iterator[Callable[[float], None]]:
    """Give a function that takes the share of the work that is done."""
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
