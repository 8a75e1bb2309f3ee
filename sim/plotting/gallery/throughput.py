"""Programs and output tokens per second, against load if there are several loads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.against import across, draw_lines, scale_axis, top_of
from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.estimates import estimate_each, interval_note
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.marks import (
    bar_height,
    explain_growth,
    held_title,
    legend_above,
    name_bars,
    named_growth,
    with_growth,
)
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import COLUMN_IN, GREY, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_LABELS: Final = {"programs_per_s": "programs/s", "output_tokens_per_s": "output tokens/s"}


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per policy, rate (if there are several) and kind of throughput."""
    by = ["policy"]
    try:
        data, held = across(data, "rate", what="the arrival rate")
        by.append("rate")
    except MissingData:
        data, held = hold(data)
    parts = []
    for kind in _LABELS:
        part = estimate_each(data.cells, by, kind, drawn=data.drawn)
        part.insert(len(by), "throughput", kind)
        parts.append(part)
    said = interval_note(drawn=data.drawn, of="its mean")
    note = f"Throughput is over the whole run, until its last program has left; {said}"
    return with_growth(FigureTable(pd.concat(parts, ignore_index=True), note, held), data.cells, by)


def draw(table: FigureTable) -> Figure:
    """Draw lines over rates, or bars if there is only one rate."""
    return _lines(table.rows) if "rate" in table.rows else _bars(table)


def _lines(rows: pd.DataFrame) -> Figure:
    figure = new_figure(COLUMN_IN, 3.5)
    panels = figure.subplots(2, 1, sharex=True)
    look = looks(list(dict.fromkeys(rows["policy"])))
    rates = sorted(set(rows["rate"]))
    for panel, (kind, label) in zip(panels, _LABELS.items(), strict=True):
        part = rows[rows["throughput"] == kind]
        top = top_of(part["value"], part["high"])
        if kind == "programs_per_s":
            panel.plot([0, top], [0, top], color=GREY, lw=0.8, ls=":", label="all that arrive")
        draw_lines(panel, part, "rate", ("value", "low", "high"), look)
        panel.set(ylabel=label, ylim=(0, top))
    scale_axis(panels[-1], rates)
    panels[-1].set_xlabel("arrival rate (programs/s)")
    explain_growth(panels[0], rows)
    legend_above(figure, panels[0])
    return figure


def _bars(table: FigureTable) -> Figure:
    rows = table.rows
    policies = list(dict.fromkeys(rows["policy"]))
    look = looks(policies)
    figure = new_figure(COLUMN_IN, bar_height(len(policies)))
    panels = figure.subplots(1, 2, sharey=True)
    for panel, (kind, label) in zip(panels, _LABELS.items(), strict=True):
        part = rows[rows["throughput"] == kind]
        ends = np.array([part["value"] - part["low"], part["high"] - part["value"]])
        colours = [look[policy].colour for policy in policies]
        panel.barh(range(len(policies)), part["value"], 0.7, color=colours, xerr=ends, capsize=2, ecolor="black")
        panel.set(xlabel=label)
        panel.grid(visible=False, axis="y")
    panels[1].tick_params(axis="y", length=0)
    name_bars(panels[0], [named_growth(policy, rows[rows["policy"] == policy]) for policy in policies])
    if title := held_title(table.held):
        figure.suptitle(title, fontsize=8)
    return figure


FIGURE = FigureSpec(
    name="throughput",
    shows="Throughput: programs and output tokens a second",
    needs="any runs; runs at two arrival rates or more for lines against load",
    tabulate=tabulate,
    draw=draw,
    place=30,
)
