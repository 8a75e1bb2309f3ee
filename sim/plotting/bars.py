"""Horizontal bars, a name each: policies have long names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BAR_IN = 0.24
_AROUND_IN = 0.75


def bar_height(bars: int, *, each_in: float = _BAR_IN) -> float:
    """Height in inches of a figure with so many bars one below the other."""
    return _AROUND_IN + each_in * max(bars, 2)


def name_bars(panel: Axes, names: Sequence[str]) -> None:
    """Write a name beside every bar, the first on top."""
    panel.set_yticks(range(len(names)), [wrapped(name) for name in names])
    panel.set_ylim(len(names) - 0.4, -0.6)
    panel.tick_params(axis="y", length=0)
    panel.grid(visible=False, axis="y")


def wrapped(name: str, letters: int = 22) -> str:
    """Break a long policy name after its commas and colons."""
    lines = [""]
    for part in name.replace(",", ",\0").replace(":", ":\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part) > letters:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)
