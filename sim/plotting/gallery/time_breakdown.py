"""Where a program's time goes: queue, prefill, decode, tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.data import TIME_PARTS, FigureData
from continuum_sim.plotting.estimates import estimate_each, interval_note
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.marks import bar_height, held_title, legend_above, name_bars
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import BLACK, BLUE, COLUMN_IN, GREEN, GREY, ORANGE, PURPLE, RED, new_figure
from continuum_sim.results.summary import RARE_PARTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FILLS: Final = {
    "queue": (ORANGE, ""),
    "reload": (RED, "xxxx"),
    "prefill": (BLUE, "////"),
    "decode": (GREEN, "...."),
    "preempted": (PURPLE, "++++"),
    "tool": (GREY, ""),
    "tool_wait": (GREY, "xxxx"),
    "join": (GREY, "||||"),
    "retry": (BLACK, ""),
}
"""Parts and their colours, in the order of a turn's life."""


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per policy: seconds per program in each part, and the mean JCT that they add up to."""
    data, held = hold(data)
    no_time = pd.Series(dtype=float)
    table = estimate_each(data.with_jct(), ["policy"], "jct_mean_s", drawn=data.drawn)
    table = table.rename(columns={"value": "jct_mean_s", "low": "jct_low_s", "high": "jct_high_s"})
    names = [f"{part}_s" for part in TIME_PARTS if part not in RARE_PARTS or data.cells.get(f"{part}_s", no_time).any()]
    parts = data.cells.groupby("policy", sort=False)[names].mean()
    note = f"Parts are means over seeds and add up to the mean JCT; whiskers: {interval_note(drawn=data.drawn)}"
    return FigureTable(table.join(parts, on="policy"), note, held)


def draw(table: FigureTable) -> Figure:
    """Draw a bar per policy, its parts end to end."""
    rows = table.rows
    figure = new_figure(COLUMN_IN, bar_height(len(rows)) + 0.15)
    panel = figure.subplots()
    at, left = np.arange(len(rows)), np.zeros(len(rows))
    fills = {part: fill for part, fill in _FILLS.items() if f"{part}_s" in rows}
    for part, (colour, hatch) in fills.items():
        size = rows[f"{part}_s"].to_numpy()
        label = part.replace("_", " ")
        panel.barh(at, size, 0.7, left=left, color=colour, hatch=hatch, edgecolor="white", lw=0, label=label)
        left = left + size
    jct = rows["jct_mean_s"]
    ends = np.array([jct - rows["jct_low_s"], rows["jct_high_s"] - jct])
    panel.errorbar(jct, at, xerr=ends, fmt="none", ecolor="black", elinewidth=0.8, capsize=2)
    name_bars(panel, rows["policy"].tolist())
    panel.set(xlabel="seconds a program", xlim=(0, None), title=held_title(table.held))
    legend_above(figure, panel)
    return figure


FIGURE = FigureSpec(
    name="time-breakdown",
    shows="Where a program's time goes: waiting in the queue, prefill, decoding, tool calls",
    needs="any runs",
    tabulate=tabulate,
    draw=draw,
    place=40,
)
