"""The service curve: the rate of work while n programs are in the system; and the loads that follow from it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.against import draw_band
from continuum_sim.plotting.data import CAPACITY_RATES, SERVED, FigureData, MissingData
from continuum_sim.plotting.estimates import estimate_each
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.marks import bar_height, legend_above, name_bars, plain_number
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import COLUMN_IN, GREY, looks, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CLOSED: Final = re.compile(r"closed:workers=(\d+)")
_NEEDS: Final = "needs results of `capacity`, or closed runs with two numbers of workers or more"


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per policy and number of programs, with the rates that `capacity` found, if any."""
    cells = data.cells
    if SERVED[0] not in cells:
        raise MissingData(_NEEDS)
    workers = [_CLOSED.fullmatch(str(arrivals)) for arrivals in cells["arrivals"]]
    data = data.where(pd.Series([bool(found) for found in workers]) & cells[SERVED[0]].notna())
    data, held = hold(data, ["arrivals"]) if len(data.cells) else (data, {})
    cells = data.cells.assign(n=[int(arrivals.rpartition("=")[2]) for arrivals in data.cells["arrivals"]])
    if cells["n"].nunique() < 2:
        raise MissingData(_NEEDS)
    cells = cells.sort_values("n", kind="stable")
    parts = []
    for policy in data.policies:
        mine = cells[cells["policy"] == policy]
        part = estimate_each(mine, ["policy", "n"], SERVED[0], drawn=False)
        if (mine["n"].value_counts() == 1).all():  # one run per point: take the interval of the run itself
            part["low"], part["high"] = (mine[name].to_numpy() for name in SERVED[1:])
        for name in CAPACITY_RATES:
            if name in mine and mine[name].notna().any():
                part[name] = mine[name].dropna().iloc[0]
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True).rename(columns={"value": "per_s"})
    note = "Bands are 95 % intervals; a rate is in programs' worth of work per second"
    if _found(rows):
        note += (
            ". Below, loads: sustained (a burst drains), metastable (held from an empty engine, lost after a burst), "
            "and lost from empty in more than 5 % of runs (the mark: in half of them)"
        )
    return FigureTable(rows, note, held)


def draw(table: FigureTable) -> Figure:
    """Draw a line per policy, and the ranges of loads below."""
    rows = table.rows
    policies = list(dict.fromkeys(rows["policy"]))
    look = looks(policies)
    ranges = _found(rows)
    heights = [2.1, bar_height(len(policies)) - 0.2] if ranges else [2.1]
    figure = new_figure(COLUMN_IN, sum(heights) + 0.35)
    panels = figure.subplots(len(heights), 1, height_ratios=heights, squeeze=False)[:, 0]
    for policy, line in rows.groupby("policy", sort=False):
        values = line[["per_s", "low", "high"]].set_axis(["value", "low", "high"], axis=1)
        draw_band(panels[0], line["n"], values, look[str(policy)], str(policy))
    panels[0].set_xscale("log")
    panels[0].set(xlabel="programs in the system", ylabel="served (programs/s)", ylim=(0, 1.08 * rows["high"].max()))
    panels[0].xaxis.set_major_formatter(plain_number)
    panels[0].xaxis.set_minor_formatter("")
    if ranges:
        _draw_ranges(panels[1], rows.drop_duplicates("policy"), {name: look[name].colour for name in policies})
    legend_above(figure, panels[0])
    return figure


def _draw_ranges(panel: Axes, rows: pd.DataFrame, colours: dict[str, str]) -> None:
    """Draw a bar per policy: solid where loads are sustained, hatched where they are metastable."""
    for at, row in enumerate(rows.itertuples(index=False)):
        sustained, held, half = (float(np.nan_to_num(getattr(row, name))) for name in CAPACITY_RATES)
        colour = colours[str(row.policy)]
        panel.barh(at, sustained, 0.6, color=colour)
        panel.barh(at, max(0.0, held - sustained), 0.6, left=sustained, color="white", edgecolor=colour, hatch="////")
        panel.plot([half, half], [at - 0.3, at + 0.3], color=GREY, lw=1.2)
    name_bars(panel, [str(name) for name in rows["policy"]])
    panel.set(xlabel="load (programs/s)", xlim=(0, None))


def _found(rows: pd.DataFrame) -> bool:
    return all(name in rows and rows[name].notna().any() for name in CAPACITY_RATES)


FIGURE = FigureSpec(
    name="service-curve",
    shows="Service curve: work done per second against the number of programs in the system",
    needs="results of capacity, or closed runs with two numbers of workers or more",
    tabulate=tabulate,
    draw=draw,
    place=150,
    curves=True,
)
