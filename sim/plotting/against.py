"""JCT against a setting on the axis, one line per policy: the form of most figures of a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

import numpy as np
import pandas as pd

from continuum_sim.plotting.data import FigureData, MissingData, plain
from continuum_sim.plotting.estimates import estimate_each, interval_note
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.marks import explain_growth, legend_above, mark_growth, with_growth
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import BAND_ALPHA, COLUMN_IN, GREY, Look, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_BEYOND: Final = 1.6
"""How far bands may stretch the axis, as a multiple of the highest line: with two seeds they can be huge."""
_MOST_MARKERS: Final = 12
_MARK_SPACING: Final = 0.15
"""Distance between markers if there are many points, as a share of the panel's diagonal."""
_WIDE_RANGE: Final = 8.0
"""Ratio of the largest to the smallest value from which an axis is logarithmic."""


def jct_against(data: FigureData, x: str, statistics: Sequence[str], *, what: str) -> FigureTable:
    """Estimate JCT statistics for every policy and every value of a setting.

    Parameters
    ----------
    x
        The setting on the axis.
    statistics
        Statistics of the JCT: `mean`, `p90`, …
    what
        The setting in words, for the message if it does not vary.

    Raises
    ------
    MissingData
        If there are not two values of the setting.
    """
    data, held = across(data, x, what=what)
    rows, cells = [], data.with_jct()
    for statistic in statistics:
        part = estimate_each(cells, ["policy", x], f"jct_{statistic}_s", drawn=data.drawn)
        part.insert(2, "statistic", statistic)
        rows.append(part)
    frame = pd.concat(rows, ignore_index=True).rename(columns={"value": "jct_s", "low": "low_s", "high": "high_s"})
    return with_growth(FigureTable(frame, band_note(data), held), data.cells, ["policy", x])


def band_note(data: FigureData, of: str = "statistic") -> str:
    """Return a note on what lines and their bands are."""
    return f"Lines and bands: {interval_note(drawn=data.drawn, of=of)}"


def across(data: FigureData, x: str, *, what: str, beside: Sequence[str] = ()) -> tuple[FigureData, dict[str, object]]:
    """Keep runs that differ only in policy, seed, `x` and the settings in `beside`, in order of x.

    Raises
    ------
    MissingData
        If there are not two values of x.
    """
    if x in data.cells:
        data = data.where(data.cells[x].notna())
    values = sorted(set(data.cells[x])) if x in data.cells else []
    if len(values) >= 2:
        data, held = hold(data, shown={x, *beside})
        values = sorted(set(data.cells[x]))
    if len(values) < 2:
        there = f"; there is one ({plain(values[0])})" if values else ""
        raise MissingData(f"needs runs at two values of {what} or more{there}")
    order = np.argsort(data.cells[x].to_numpy(dtype=float), kind="stable")
    policies = data.policies
    ranks = data.cells["policy"].map(policies.index).to_numpy()
    return data.reordered(order[np.argsort(ranks[order], kind="stable")]), held


def draw_jct_against(table: FigureTable, x: str, label: str) -> Figure:
    """Draw one panel per statistic, one below the other."""
    rows = table.rows
    statistics = list(dict.fromkeys(rows["statistic"]))
    figure = new_figure(COLUMN_IN, 0.75 + 1.35 * len(statistics))
    panels = figure.subplots(len(statistics), 1, sharex=True, squeeze=False)[:, 0]
    look = looks(list(dict.fromkeys(rows["policy"])))
    for panel, statistic in zip(panels, statistics, strict=True):
        part = rows[rows["statistic"] == statistic]
        draw_lines(panel, part, x, ("jct_s", "low_s", "high_s"), look)
        panel.set(ylabel=f"{statistic} JCT (s)", ylim=(0, top_of(part["jct_s"], part["high_s"])))
    scale_axis(panels[-1], sorted(set(rows[x])))
    panels[-1].set_xlabel(label)
    explain_growth(panels[0], rows)
    legend_above(figure, panels[0])
    return figure


def draw_lines(
    panel: Axes, rows: pd.DataFrame, x: str, estimate: tuple[str, str, str], look: Mapping[str, Look]
) -> None:
    """Draw a line per policy with its band, hollow where the backlog grows; `estimate` names value, low and high."""
    for policy, line in rows.groupby("policy", sort=False):
        draw_band(panel, line[x], line[list(estimate)], look[str(policy)], str(policy))
        mark_growth(panel, line, x, estimate[0], look[str(policy)])


def draw_band(
    panel: Axes, x: pd.Series, estimate: pd.DataFrame, look: Look, label: str, *, steps: bool = False
) -> None:
    """Draw a line through estimates with its band; `estimate` has columns value, low, high.

    If there are many points, only some of them get markers.
    """
    value, low, high = (estimate.iloc[:, at].to_numpy() for at in range(3))
    drawstyle: Literal["steps-post", "default"] = "steps-post" if steps else "default"
    every = _MARK_SPACING if len(value) > _MOST_MARKERS else None
    panel.plot(
        x, value, color=look.colour, ls=look.line, marker=look.marker, markevery=every, label=label, drawstyle=drawstyle
    )
    if not np.isnan(low).all():
        panel.fill_between(x, low, high, color=look.colour, alpha=BAND_ALPHA, lw=0, step="post" if steps else None)


def top_of(values: pd.Series, highs: pd.Series) -> float:
    """Return the upper end of an axis that starts at 0: room for the bands, unless they dwarf the lines."""
    most = float(values.max())
    return 1.05 * max(most, min(float(np.nanmax([*highs, most])), _MOST_BEYOND * most)) or 1.0


def scale_axis(panel: Axes, values: Sequence[float]) -> None:
    """Choose the horizontal axis: linear from 0 or, for a wide range, logarithmic with a tick per value."""
    positive = [value for value in values if value > 0]
    if len(positive) > 1 and positive[-1] / positive[0] >= _WIDE_RANGE:
        if values[0] > 0:
            panel.set_xscale("log")
        else:
            panel.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
            panel.set_xlim(-0.1 * positive[0], 1.15 * values[-1])
        panel.set_xticks(list(values), [plain(float(value)) for value in values])
        panel.minorticks_off()
    elif values[0] >= 0:
        panel.set_xlim(0, 1.04 * values[-1])


def reference_level(panel: Axes, estimate: pd.DataFrame, look: Look, label: str) -> None:
    """Draw a policy that does not depend on the axis as a level with its band; `estimate` as for `draw_band`."""
    value, low, high = estimate.iloc[0].to_numpy(dtype=float)
    panel.axhline(value, color=look.colour, ls="--", lw=1, label=label)
    if not np.isnan(low):
        panel.axhspan(low, high, color=look.colour, alpha=BAND_ALPHA / 2, lw=0)


def one_line(panel: Axes) -> None:
    """Mark the ratio 1, at which nothing differs."""
    panel.axhline(1, color=GREY, lw=0.8, zorder=0)
