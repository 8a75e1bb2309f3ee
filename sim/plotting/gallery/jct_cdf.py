"""Distribution of JCT over programs: tails that a mean hides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.against import draw_band
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.estimates import interval_note
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.marks import held_title, legend_above, named_growth, with_growth
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import looks, new_figure
from continuum_sim.results.estimate import averaged

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_MOST_POINTS: Final = 400
"""Most points of a curve: more cannot be distinguished in print."""


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per policy and JCT: the share of programs that took at most that long."""
    data, held = hold(data)
    programs = data.table("programs", ["program", "jct_s"])
    parts = []
    for policy, of_policy in programs.groupby("policy", sort=False):
        points = np.unique(of_policy["jct_s"])
        if len(points) > _MOST_POINTS:
            points = points[np.linspace(0, len(points) - 1, _MOST_POINTS).round().astype(int)]
        samples = [np.sort(one["jct_s"].to_numpy()) for _, one in of_policy.groupby("seed", sort=False)]
        shares = np.array([np.searchsorted(sample, points, side="right") / len(sample) for sample in samples])
        sizes = [len(sample) for sample in samples]
        estimates = [averaged(column, drawn=data.drawn, weights=sizes, logs=False) for column in shares.T]
        part = pd.DataFrame(estimates).rename(columns={"value": "share", "low": "low", "high": "high"})
        part[["low", "high"]] = part[["low", "high"]].clip(0, 1)
        part.insert(0, "policy", policy)
        part.insert(1, "jct_s", points)
        parts.append(part)
    note = f"Curves and bands: {interval_note(drawn=data.drawn, of='distribution function')}, point by point"
    return with_growth(FigureTable(pd.concat(parts, ignore_index=True), note, held), data.cells, ["policy"])


def draw(table: FigureTable) -> Figure:
    """Draw a curve per policy."""
    figure = new_figure()
    panel = figure.subplots()
    look = looks(list(dict.fromkeys(table.rows["policy"])))
    for policy, curve in table.rows.groupby("policy", sort=False):
        estimate = 100 * curve[["share", "low", "high"]]
        label = named_growth(str(policy), curve)
        draw_band(panel, curve["jct_s"], estimate, look[str(policy)], label, steps=True)
    panel.set(
        xlabel="job completion time (s)",
        ylabel="cumulative share of programs (%)",
        xlim=(0, None),
        ylim=(0, 100),
        title=held_title(table.held),
    )
    legend_above(figure, panel)
    return figure


FIGURE = FigureSpec(
    name="jct-cdf",
    shows="Distribution of the job completion time over programs",
    needs="runs with their programs.parquet",
    tabulate=tabulate,
    draw=draw,
    place=20,
)
