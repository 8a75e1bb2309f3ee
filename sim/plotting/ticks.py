"""Numbers at axes: as a person writes them, and no more of them than there is room for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_PER_INCH: Final = 3.0
"""Ticks along an inch of a horizontal axis at most: `0.05` in seven points takes a fifth of one, and air around it."""


def tidy_ticks(figure: Figure) -> None:
    """Give linear axes that chose their own ticks fewer of them, and numbers as in 0.05 and 2,500."""
    from matplotlib.ticker import AutoLocator, FuncFormatter, MaxNLocator, ScalarFormatter

    for panel in figure.axes:
        width_in = panel.get_window_extent().width / figure.dpi
        axes: list[Axis] = [panel.xaxis, panel.yaxis]
        for axis in axes:
            if isinstance(axis.get_major_formatter(), ScalarFormatter) and axis.get_scale() == "linear":
                axis.set_major_formatter(FuncFormatter(plain_number))
        if isinstance(panel.xaxis.get_major_locator(), AutoLocator):
            panel.xaxis.set_major_locator(MaxNLocator(max(3, round(_PER_INCH * width_in)), steps=[1, 2, 5, 10]))


def plain_number(value: float, position: int | None = None) -> str:
    """Write the number at a tick, for matplotlib's `FuncFormatter`."""
    return f"{value:,.7g}".replace("-", "−")
