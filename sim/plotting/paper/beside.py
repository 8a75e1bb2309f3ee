"""Bars: every published value next to ours for the same policy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.estimates import estimate_each, interval_note, ratio_each
from continuum_sim.plotting.marks import legend_above, name_bars
from continuum_sim.plotting.paper.figure import PaperFigure
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import BLUE, COLUMN_IN, GREY, new_figure
from continuum_sim.published import PublishedPoint, find_published

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLUMNS: Final = {
    "jct_mean_s": ("jct_mean_s", "mean JCT (s)"),
    "jct_p50_s": ("jct_p50_s", "median JCT (s)"),
    "jct_p95_s": ("jct_p95_s", "p95 JCT (s)"),
    "makespan_s": ("sim_s", "makespan (s)"),
}
"""Published quantity -> our column, and its label."""
_VALUE_SIZE: Final = 6
_EQUAL: Final = 0.005
"""Ratios closer to 1 than this count as no difference."""
_ROOM: Final = 1.45
"""Width of a panel as a multiple of the longest bar, with room for the values after the bars."""


def beside(name: str, published: str, scenario: str, shows: str) -> PaperFigure:
    """Make the figure that compares the values of a published figure with those of a scenario."""

    def tabulate(cells: Mapping[str, FigureData]) -> FigureTable:
        return beside_table(cells[scenario], published)

    return PaperFigure(name, shows, (scenario,), tabulate, draw)


def beside_table(data: FigureData, published: str) -> FigureTable:
    """Return one row per quantity and policy: published value, ours, and both as multiples of the baseline's."""
    figure = find_published(published)
    baseline = data.policies[0]
    parts, cells = [], data.with_jct()
    for quantity in dict.fromkeys(point.quantity for point in figure.points if point.quantity in _COLUMNS):
        column = _COLUMNS[quantity][0]
        ours = estimate_each(cells, ["policy"], column, drawn=data.drawn)
        ratios = ratio_each(cells, [], column, baseline, drawn=data.drawn)
        ratios = ratios.rename(columns={"low": "ratio_low", "high": "ratio_high"})
        part = ours.join(ratios.set_index("policy").drop(columns="seeds"), on="policy")
        theirs = {point.policy: point for point in figure.points if point.quantity == quantity}
        part = part.join(_published(theirs, baseline), on="policy")
        part.insert(0, "quantity", quantity)
        parts.append(part)
    said = interval_note(drawn=data.drawn)
    note = f"Published: {figure.source}. Simulated: {said}; in brackets the multiple of {baseline}"
    rows = pd.concat(parts, ignore_index=True)
    if (rows["ratio"] - 1).abs().max() < _EQUAL:
        note += f". Simulated, no policy differs from {baseline} by more than {100 * _EQUAL:g} %"
    return FigureTable(rows, note)


def _published(theirs: Mapping[str | None, PublishedPoint], baseline: str) -> pd.DataFrame:
    base = theirs[baseline].value if baseline in theirs else math.nan
    rows = {
        policy: (point.series, point.value, point.value / base, point.approximate) for policy, point in theirs.items()
    }
    columns = ["series", "published", "published_ratio", "approximate"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def draw(table: FigureTable) -> Figure:
    """Draw a panel per quantity and two bars per policy, with the values after them."""
    rows = table.rows
    quantities = list(dict.fromkeys(rows["quantity"]))
    policies = list(dict.fromkeys(rows["policy"]))
    figure = new_figure(COLUMN_IN, 0.45 + (0.35 + 0.36 * len(policies)) * len(quantities))
    panels = figure.subplots(len(quantities), 1, squeeze=False)[:, 0]
    for panel, quantity in zip(panels, quantities, strict=True):
        part = rows[rows["quantity"] == quantity].reset_index(drop=True)
        _panel(panel, part, _COLUMNS[quantity][1])
    legend_above(figure, panels[0])
    return figure


def _panel(panel: Axes, part: pd.DataFrame, label: str) -> None:
    at = np.arange(len(part))
    ends = np.array([part["value"] - part["low"], part["high"] - part["value"]])
    hatched: dict[str, Any] = {"color": GREY, "hatch": "////", "edgecolor": "white", "lw": 0}
    panel.barh(at - 0.2, part["published"].fillna(0), 0.36, label="published", **hatched)
    whiskers = {"elinewidth": 0.8, "capsize": 1.5}
    panel.barh(at + 0.2, part["value"], 0.36, color=BLUE, xerr=ends, error_kw=whiskers, label="simulated")
    for number, row in enumerate(part.to_dict("records")):
        if not math.isnan(row["published"]):
            about = "~" if row["approximate"] else ""
            text = about + _text(row["published"], row["published_ratio"])
            panel.text(row["published"], number - 0.2, f"  {text}", va="center", size=_VALUE_SIZE)
        end = np.nanmax([row["value"], row["high"]])
        panel.text(end, number + 0.2, f"  {_text(row['value'], row['ratio'])}", va="center", size=_VALUE_SIZE)
    longest = float(np.nanmax(part[["published", "value", "high"]].to_numpy()))
    panel.set(xlim=(0, _ROOM * longest), xlabel=label)
    name_bars(panel, [_name(row) for row in part.to_dict("records")])


def _name(row: Mapping[Any, Any]) -> str:
    """Return the publication's label above ours; only ours if it has none."""
    return f"{row['series']}\n{row['policy']}" if isinstance(row["series"], str) else str(row["policy"])


def _text(value: float, ratio: float) -> str:
    return f"{value:,.0f}" + ("" if math.isnan(ratio) else f" ({ratio:.2f})")
