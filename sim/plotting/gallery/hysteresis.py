"""JCT against load, from an empty and from a loaded engine; where the two differ, the JCT of a service depends on its
past.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from continuum_sim.plotting.against import across, band_note, draw_band, scale_axis
from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.estimates import estimate_each
from continuum_sim.plotting.marks import explain_growth, legend_above, mark_growth, with_growth
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import COLUMN_IN, GREY, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LINES: Final = {"empty": ("-", "from empty"), "loaded": ("--", "from loaded")}


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per policy, start and rate."""
    there = set(data.cells["start"]) if "start" in data.cells else set()
    if not there >= set(_LINES):
        raise MissingData("needs runs from both starts, as of sweep --rates 0.01,0.02,0.03 --vary start=empty,loaded")
    data, held = across(data, "rate", what="the arrival rate", beside=["start"])
    by = ["policy", "start", "rate"]
    rows = estimate_each(data.with_jct(), by, "jct_mean_s", drawn=data.drawn)
    rows = rows.rename(columns={"value": "jct_s", "low": "low_s", "high": "high_s"})
    return with_growth(FigureTable(rows, band_note(data, "mean JCT"), held), data.cells, by)


def draw(table: FigureTable) -> Figure:
    """Draw a solid and a dashed line per policy; their JCTs differ by factors."""
    rows = table.rows
    figure = new_figure(COLUMN_IN, 2.8)
    panel = figure.subplots()
    look = looks(list(dict.fromkeys(rows["policy"])))
    panel.set_yscale("log")
    for (policy, start), line in rows.groupby(["policy", "start"], sort=False):
        style, _ = _LINES[str(start)]
        estimate = line[["jct_s", "low_s", "high_s"]].copy()
        estimate["low_s"] = np.maximum(estimate["low_s"], 0.5 * estimate["jct_s"])  # two seeds may reach below 0
        own = look[str(policy)]._replace(line=style)
        draw_band(panel, line["rate"], estimate, own, str(policy) if start == "empty" else "")
        mark_growth(panel, line, "rate", "jct_s", own)
    for style, label in _LINES.values():
        panel.plot([], [], color=GREY, ls=style, label=label)
    explain_growth(panel, rows)
    panel.set(xlabel="arrival rate (programs/s)", ylabel="mean JCT (s)")
    scale_axis(panel, sorted(set(rows["rate"])))
    legend_above(figure, panel)
    return figure


FIGURE = FigureSpec(
    name="hysteresis",
    shows="Job completion time against the arrival rate, from an empty engine and from a loaded one",
    needs="runs at two arrival rates or more, each from both starts (--vary start=empty,loaded)",
    tabulate=tabulate,
    draw=draw,
    place=140,
)
