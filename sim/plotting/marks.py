"""Everything around the data of a picture: tick labels, names of bars, the legend, and what was run in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import pandas as pd

from continuum_sim.hardware.splits import GPU_COUNTS
from continuum_sim.plotting.data import plain
from continuum_sim.plotting.held import varying
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import GREY, Look
from continuum_sim.traces.arrivals import Closed

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

_TICKS_PER_INCH: Final = 3.0
"""Most ticks per inch of a horizontal axis: `0.05` in seven points is a fifth of an inch wide, plus space around it."""
_BAR_IN: Final = 0.24
_AROUND_BARS_IN: Final = 0.75
_SHOWN: Final = {"rate": "{} programs/s", "dram_gb": "{} GB DRAM", "gpu": "{}", "model": "{}", "trace": "{}"}
_WITHOUT_WORDS: Final = ("trace_id", "step_time_id")
_GROWING: Final = "growing"
_GROWS: Final = "backlog grows"
_GROWS_NOTE: Final = ". Where the backlog grows, in one seed or more, the value depends on how long the runs are"


def with_growth(table: FigureTable, cells: pd.DataFrame, by: Sequence[str]) -> FigureTable:
    """Add to rows, each for the runs with the same values of `by`, in how many of these the backlog grows.

    A table is returned unchanged if no backlog grows, or if it is unknown.
    """
    if "verdict_kind" not in cells:
        return table
    grows = (cells["verdict_kind"] == "grows").groupby([cells[name] for name in by], sort=False, dropna=False).sum()
    if not grows.any():
        return table
    rows = table.rows.merge(grows.reset_index(name=_GROWING), on=list(by), how="left")
    return replace(table, rows=rows, note=f"{table.note}{_GROWS_NOTE}")


def mark_growth(panel: Axes, line: pd.DataFrame, x: str, y: str, look: Look) -> None:
    """Make the markers of a line hollow where the backlog grows."""
    if _GROWING in line:
        part = line[line[_GROWING] > 0]
        panel.plot(part[x], part[y], ls="none", marker=look.marker, mfc="white", mec=look.colour, zorder=3)


def explain_growth(panel: Axes, rows: pd.DataFrame) -> None:
    """Add hollow markers to the legend of a panel."""
    if _GROWING in rows:
        panel.plot([], [], ls="none", marker="o", mfc="white", mec=GREY, label=_GROWS)


def named_growth(policy: str, rows: pd.DataFrame) -> str:
    """Return the name of a policy for pictures without markers, with a remark if its backlog grows."""
    return f"{policy} ({_GROWS})" if _GROWING in rows and (rows[_GROWING] > 0).any() else policy


def lasting(frames: Sequence[pd.DataFrame]) -> str:
    """Return a note on whether loads are sustained, or runs are transients whose times depend on their length."""
    cells = pd.concat(frames)
    kinds = cells["verdict_kind"]
    if cells["arrivals"].str.startswith(Closed.name).all():
        return "A closed load, with its start and its end: a transient"
    steady = int((kinds == "steady").sum())
    if steady == len(kinds):
        return "Every load lasts: a steady state"
    which = f"{len(kinds) - steady} of the {len(kinds)} runs are" if steady else "Every run is"
    return f"{which} a transient, of a load not known to last: times depend on how many programs there are"


def tidy_ticks(figure: Figure) -> None:
    """Give linear axes with automatic ticks fewer of them, and tick labels such as 0.05 and 2,500."""
    from matplotlib.ticker import AutoLocator, FuncFormatter, MaxNLocator, ScalarFormatter

    for panel in figure.axes:
        width_in = panel.get_window_extent().width / figure.dpi
        axes: list[Axis] = [panel.xaxis, panel.yaxis]
        for axis in axes:
            if isinstance(axis.get_major_formatter(), ScalarFormatter) and axis.get_scale() == "linear":
                axis.set_major_formatter(FuncFormatter(plain_number))
        if isinstance(panel.xaxis.get_major_locator(), AutoLocator):
            panel.xaxis.set_major_locator(MaxNLocator(max(3, round(_TICKS_PER_INCH * width_in)), steps=[1, 2, 5, 10]))


def plain_number(value: float, position: int | None = None) -> str:
    """Format the number at a tick, for matplotlib's `FuncFormatter`."""
    return f"{value:,.7g}".replace("-", "−")


def bar_height(bars: int, *, each_in: float = _BAR_IN) -> float:
    """Return the height in inches of a figure with `bars` bars one below the other."""
    return _AROUND_BARS_IN + each_in * max(bars, 2)


def name_bars(panel: Axes, names: Sequence[str]) -> None:
    """Write a name next to every bar, the first on top."""
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


def legend_above(figure: Figure, panel: Axes) -> None:
    """Put the legend of a panel above all panels, in as few rows as fit, to be read row by row.

    The figure grows by the height of any further rows, so that panels keep their size.
    """
    handles, labels = panel.get_legend_handles_labels()
    if not labels:
        return
    from matplotlib import rcParams

    columns = _columns([_width_pt(label) for label in labels], 72 * figure.get_figwidth())
    row_pt = rcParams["legend.fontsize"] * (1.2 + rcParams["legend.labelspacing"])
    folds = sum(label.count("\n") for label in labels)  # upper bound on the lines beyond one per row
    figure.set_figheight(figure.get_figheight() + (-(-len(labels) // columns) - 1 + folds) * row_pt / 72)
    # Reordered because matplotlib fills column by column.
    order = [at for column in range(columns) for at in range(column, len(labels), columns)]
    figure.legend(
        [handles[at] for at in order], [labels[at] for at in order], loc="outside upper center", ncols=columns
    )


def _columns(widths_pt: Sequence[float], room_pt: float) -> int:
    """Return the smallest number of columns that fits and gives the fewest rows."""
    counts = range(1, len(widths_pt) + 1)
    fitting = [1, *(n for n in counts[1:] if _needed_pt(widths_pt, n) <= room_pt)]
    return min(fitting, key=lambda n: (-(-len(widths_pt) // n), n))


def _needed_pt(widths_pt: Sequence[float], columns: int) -> float:
    """Return the width of `columns` columns, each as wide as its longest label with the handle before it."""
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


def held_title(held: Mapping[str, Any]) -> str:
    """Return the values at which varying settings were held in a picture; empty if nothing varied."""
    parts = []
    for name, value in held.items():
        if name not in _WITHOUT_WORDS:
            parts.append(_SHOWN.get(name, f"{name} {{}}").format(plain(value)))
    return ", ".join(parts)


def setting_of(cells: pd.DataFrame) -> str:
    """Return what all runs of a figure share (trace, model, GPU, arrivals) and their seeds, as text."""
    differing = varying(cells)

    def shared(name: str) -> str | None:
        if name not in cells or name in differing:
            return None
        value = cells[name].iloc[0]
        return None if value is None or (isinstance(value, float) and math.isnan(value)) else plain(value)

    parts = [shared("trace")]
    if cells["programs"].nunique() == 1:
        parts.append(f"{cells['programs'].iloc[0]:,.0f} programs")
    model, gpu = shared("model"), shared("gpu")
    gpus = math.prod(int(float(shared(name) or 1)) for name in GPU_COUNTS)
    if model and gpu:
        parts.append(f"{model} on {f'{gpus} ' if gpus > 1 else ''}{gpu}")
    rate, process = shared("rate"), shared("arrivals")
    if process:
        parts.append(f"arrivals {process}" + (f" at {rate} programs/s" if rate else ""))
    seeds = sorted(set(cells["seed"]))
    span = f"{seeds[0]}" if len(seeds) == 1 else _span(seeds)
    parts.append(f"seed{'s' if len(seeds) > 1 else ''} {span}")
    return ", ".join(part for part in parts if part)


def _span(seeds: list[int]) -> str:
    whole = seeds == list(range(seeds[0], seeds[-1] + 1))
    return f"{seeds[0]}-{seeds[-1]}" if whole else ", ".join(map(str, seeds))
