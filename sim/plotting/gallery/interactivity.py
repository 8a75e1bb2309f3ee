"""GPU throughput against what a user sees: output tokens per GPU-second against interactivity, as the load grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from continuum_sim.plotting.against import across, top_of
from continuum_sim.plotting.data import GPU_TOKENS, INTERACTIVITY, FigureData, MissingData
from continuum_sim.plotting.estimates import estimate_each, interval_note
from continuum_sim.plotting.marks import explain_growth, held_title, legend_above, mark_growth, with_growth
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import looks, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per policy and rate, in order of rate: both quantities, and the interval of each."""
    if not {INTERACTIVITY, GPU_TOKENS} <= set(data.cells):
        raise MissingData("needs runs of a version that measures interactivity; run them again")
    data = data.where(data.cells[INTERACTIVITY].notna() & data.cells[GPU_TOKENS].notna())
    data, held = across(data, "rate", what="the arrival rate")
    by = ["policy", "rate"]
    rows = estimate_each(data.cells, by, INTERACTIVITY, drawn=data.drawn).rename(columns={"value": INTERACTIVITY})
    tokens = estimate_each(data.cells, by, GPU_TOKENS, drawn=data.drawn).drop(columns=[*by, "seeds"])
    rows = rows.join(tokens.rename(columns={"value": GPU_TOKENS, "low": "gpu_low", "high": "gpu_high"}))
    note = (
        "Each point is a load; points move to the left as the load grows. Interactivity is what nine turns in ten "
        "reach, 1 / the 90th percentile of TPOT; tokens per GPU-second are over the whole run. Points and whiskers: "
        f"{interval_note(drawn=data.drawn, of='mean')}"
    )
    return with_growth(FigureTable(rows, note, held), data.cells, by)


def draw(table: FigureTable) -> Figure:
    """Draw a line per policy through its loads."""
    rows = table.rows
    figure = new_figure()
    panel = figure.subplots()
    look = looks(list(dict.fromkeys(rows["policy"])))
    for policy, line in rows.groupby("policy", sort=False):
        own = look[str(policy)]
        x, y = line[INTERACTIVITY], line[GPU_TOKENS]
        ends = [np.array([line[low], line[high]]) for low, high in (("low", "high"), ("gpu_low", "gpu_high"))]
        across_x, across_y = (np.abs(pair - value.to_numpy()) for pair, value in zip(ends, (x, y), strict=True))
        panel.errorbar(
            x, y, xerr=across_x, yerr=across_y, color=own.colour, ls=own.line, marker=own.marker, elinewidth=0.6,
            label=str(policy),
        )  # fmt: skip
        mark_growth(panel, line, INTERACTIVITY, GPU_TOKENS, own)
    explain_growth(panel, rows)
    panel.set(
        xlabel="p90 interactivity (output tokens/s that a user sees)",
        ylabel="output tokens per GPU-second",
        xlim=(0, top_of(rows[INTERACTIVITY], rows["high"])),
        ylim=(0, top_of(rows[GPU_TOKENS], rows["gpu_high"])),
        title=held_title(table.held),
    )
    legend_above(figure, panel)
    return figure


FIGURE = FigureSpec(
    name="interactivity",
    shows="Output tokens per GPU-second against the output tokens per second that a user sees, as the load grows",
    needs="runs at two arrival rates or more",
    tabulate=tabulate,
    draw=draw,
    place=32,
)
