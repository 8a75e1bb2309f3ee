"""Shares of programs and turns within the objectives, against load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pandas as pd

from continuum_sim.plotting.against import across, band_note, draw_lines, scale_axis
from continuum_sim.plotting.data import ATTAINMENT, FigureData, MissingData
from continuum_sim.plotting.estimates import estimate_each
from continuum_sim.plotting.marks import explain_growth, held_title, legend_above, with_growth
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import COLUMN_IN, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_OF: Final = dict(zip(ATTAINMENT, ("programs", "turns"), strict=True))


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per policy, rate and kind of objective (about programs or turns)."""
    cells = data.cells
    there = [name for name in _OF if name in cells and cells[name].notna().any()]
    if not there:
        raise MissingData("needs runs with objectives, as of sweep --rates 0.01,0.02,0.03 --slo p95_jct=300,ttft=2")
    data, held = across(data.where(cells[there].notna().any(axis=1)), "rate", what="the arrival rate")
    by = ["policy", "rate"]
    parts = []
    for name in (name for name in there if data.cells[name].notna().all()):
        part = estimate_each(data.cells, by, name, drawn=data.drawn, logs=False).rename(columns={"value": "share"})
        part[["low", "high"]] = part[["low", "high"]].clip(0, 1)
        part.insert(len(by), "of", _OF[name])
        parts.append(part)
    slo = data.cells["slo"].iloc[0]
    note = f"Share within the bounds of all its objectives: {slo}. {band_note(data, 'mean')}, cut at 0 and 1"
    return with_growth(FigureTable(pd.concat(parts, ignore_index=True), note, held), data.cells, by)


def draw(table: FigureTable) -> Figure:
    """Draw a panel for programs and one for turns, if there are objectives about them; a line per policy."""
    rows = table.rows
    kinds = list(dict.fromkeys(rows["of"]))
    figure = new_figure(COLUMN_IN, 0.9 + 1.5 * len(kinds))
    panels = figure.subplots(len(kinds), 1, sharex=True, squeeze=False)[:, 0]
    look = looks(list(dict.fromkeys(rows["policy"])))
    for panel, kind in zip(panels, kinds, strict=True):
        draw_lines(panel, rows[rows["of"] == kind], "rate", ("share", "low", "high"), look)
        panel.set(ylabel=f"{kind} within bounds (share)", ylim=(0, 1.03))
    panels[0].set_title(held_title(table.held))
    scale_axis(panels[-1], sorted(set(rows["rate"])))
    panels[-1].set_xlabel("arrival rate (programs/s)")
    explain_growth(panels[0], rows)
    legend_above(figure, panels[0])
    return figure


FIGURE = FigureSpec(
    name="slo-attainment",
    shows="Share of programs and of turns within their objectives, against the arrival rate",
    needs="runs with --slo at two arrival rates or more",
    tabulate=tabulate,
    draw=draw,
    place=34,
)
