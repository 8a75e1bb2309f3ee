"""Where text goes: results to standard output, everything else to standard error.

Names come from users' files. Here they are text: neither rich's markup nor a terminal's escape sequences.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from continuum_sim.traces.printable import printable

_PIPE_WIDTH: Final = 160
"""Columns in a file or a pipe: enough that tables are seldom parted."""


class _TextConsole(Console):
    """A console that takes text for what it says, and writes no escape sequences but its own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, with what is left of unprintable characters shown as escapes."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment("\n".join(map(printable, segment.text.split("\n"))), segment.style)


def show(*results: RenderableType) -> None:
    """Print results, one below the other; into a file or a pipe without spaces at the ends of lines."""
    console = _TextConsole()
    if console.is_terminal:
        console.print(*results, sep="\n")
        return
    console.width = max(console.width, _PIPE_WIDTH)
    with console.capture() as captured:
        console.print(*results, sep="\n")
    print("\n".join(line.rstrip() for line in captured.get().rstrip().split("\n")))


def show_lines(*lines: str) -> None:
    """Print lines to standard output as they are, however long, so that paths in them can be copied."""
    print("\n".join(map(printable, lines)))


def say(*lines: str) -> None:
    """Print lines to standard error."""
    for line in lines:
        messages().print(printable(line), soft_wrap=True)


def messages() -> Console:
    """Return the console for everything that is no result."""
    return _TextConsole(stderr=True)
