"""Where text goes: results to standard output, everything else to standard error.

Names come from users' files, so they are printed literally: no rich markup, no terminal escape sequences.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from continuum_sim.traces.printable import printable

_PIPE_WIDTH: Final = 160
"""Columns in a file or a pipe: wide enough that tables are rarely split."""


class _TextConsole(Console):
    """A console that prints text literally, and writes no escape sequences but its own."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(highlight=False, markup=False, emoji=False, **settings)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render, with any remaining unprintable characters shown as escapes."""
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment("\n".join(map(printable, segment.text.split("\n"))), segment.style)


def show(*results: RenderableType) -> None:
    """Print results, one below the other; without trailing spaces if the output is a file or a pipe."""
    console = _TextConsole()
    if console.is_terminal:
        console.print(*results, sep="\n")
        return
    console.width = max(console.width, _PIPE_WIDTH)
    with console.capture() as captured:
        console.print(*results, sep="\n")
    print("\n".join(line.rstrip() for line in captured.get().rstrip().split("\n")))


def show_lines(*lines: str) -> None:
    """Print lines to standard output without wrapping, so that paths in them can be copied."""
    print("\n".join(map(printable, lines)))


def say(*lines: str) -> None:
    """Print lines to standard error."""
    for line in lines:
        messages().print(printable(line), soft_wrap=True)


def messages() -> Console:
    """Return the console for everything that is not a result."""
    return _TextConsole(stderr=True)
