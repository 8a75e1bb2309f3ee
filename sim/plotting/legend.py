"""A legend above all panels, where it hides no data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def legend_above(figure: Figure, panel: Axes) -> None:
    """Put the legend of a panel above all panels, in as few rows as fit, to be read row by row.

    The figure grows by what more than one row takes, so that panels stay as they are.
    """
    handles, labels = panel.get_legend_handles_labels()
    if not labels:
        return
    from matplotlib import rcParams

    columns = _columns([_width_pt(label) for label in labels], 72 * figure.get_figwidth())
    row_pt = rcParams["legend.fontsize"] * (1.2 + rcParams["legend.labelspacing"])
    folds = sum(label.count("\n") for label in labels)  # at most so many lines more than rows
    figure.set_figheight(figure.get_figheight() + (-(-len(labels) // columns) - 1 + folds) * row_pt / 72)
    # Matplotlib fills column by column.
    order = [at for column in range(columns) for at in range(column, len(labels), columns)]
    figure.legend(
        [handles[at] for at in order], [labels[at] for at in order], loc="outside upper center", ncols=columns
    )


def _columns(widths_pt: Sequence[float], room_pt: float) -> int:
    """The fewest columns of those that fit and make as few rows as any that fit."""
    counts = range(1, len(widths_pt) + 1)
    fitting = [1, *(n for n in counts[1:] if _needed_pt(widths_pt, n) <= room_pt)]
    return min(fitting, key=lambda n: (-(-len(widths_pt) // n), n))


def _needed_pt(widths_pt: Sequence[float], columns: int) -> float:
    """Width of so many columns, each as wide as its longest label and the handle before it."""
    from matplotlib import rcParams as settings

    handle_pt = settings["legend.fontsize"] * (settings["legend.handlelength"] + settings["legend.handletextpad"])
    gap_pt = settings["legend.fontsize"] * settings["legend.columnspacing"]
    around_pt = 2 * settings["legend.fontsize"] * (settings["legend.borderpad"] + settings["legend.borderaxespad"])
    texts_pt = sum(max(widths_pt[column::columns]) for column in range(columns))
    return float(around_pt + texts_pt + columns * handle_pt + (columns - 1) * gap_pt)


def _width_pt(text: str) -> float:
    from matplotlib import rc_context, rcParams
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import TextPath

    with rc_context({"text.parse_math": False}):
        lines = [
            TextPath((0, 0), line, size=rcParams["legend.fontsize"], prop=FontProperties()) for line in text.split("\n")
        ]
    return max(float(line.get_extents().x1) for line in lines)
