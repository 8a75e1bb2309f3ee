"""Where text goes: results to standard output, everything else to standard error."""

from __future__ import annotations

from typing import Final

from rich.console import Console, RenderableType

_PIPE_WIDTH: Final = 160
"""Columns in a file or a pipe: enough that no table is cut off."""


def show(*results: RenderableType) -> None:
    """Print results, one below the other; into a file or a pipe without spaces at the ends of lines."""
    console = Console(highlight=False)
    if console.is_terminal:
        console.print(*results, sep="\n")
        return
    console.width = max(console.width, _PIPE_WIDTH)
    with console.capture() as captured:
        console.print(*results, sep="\n")
    print("\n".join(line.rstrip() for line in captured.get().rstrip().split("\n")))


def messages() -> Console:
    """Return the console for everything else."""
    return Console(stderr=True, highlight=False)
