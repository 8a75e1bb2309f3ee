"""Queue wait by the turn's index in its program: the wait that retention spares comes after every tool call."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from continuum_sim.plotting.against import band_note, draw_band, top_of
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.estimates import estimate_each, in_order
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.marks import held_title, legend_above, plain_number
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import looks, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OUTLYING: Final = 10.0
"""Multiple of the median wait from which the longest wait would flatten all others on a linear axis."""
_LEAST_SHARE: Final = 0.2
"""Turn indices reached by a smaller share of programs are left out: a handful of programs would stand for all."""


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per policy and turn index."""
    data, held = hold(data)
    turns = data.table("turns", ["turn", "arrival_s", "scheduled_s"])
    turns["wait_s"] = turns["scheduled_s"] - turns["arrival_s"]
    means = turns.groupby(["policy", "seed", "turn"], sort=False)["wait_s"].agg(["mean", "size"]).reset_index()
    first = means[means["turn"] == 0].set_index(["policy", "seed"])["size"].rename("programs")
    means = means.join(first, on=["policy", "seed"])
    reached = means.groupby("turn")[["size", "programs"]].sum()
    kept = reached.index[reached["size"] >= _LEAST_SHARE * reached["programs"]]
    means = means[means["turn"].isin(kept)].sort_values("turn", kind="stable")
    table = estimate_each(means, ["policy", "turn"], "mean", drawn=data.drawn, weights="size", logs=False)
    table = table.rename(columns={"value": "wait_s", "low": "low_s", "high": "high_s"})
    note = band_note(data, "mean wait of these turns")
    rare = f"Turns that fewer than {100 * _LEAST_SHARE:.0f} % of programs reach are left out"
    return FigureTable(in_order(table, data.policies), f"{note}. {rare}", held)


def draw(table: FigureTable) -> Figure:
    """Draw a line per policy."""
    from matplotlib.ticker import MaxNLocator

    rows = table.rows
    figure = new_figure()
    panel = figure.subplots()
    look = looks(list(dict.fromkeys(rows["policy"])))
    for policy, line in rows.groupby("policy", sort=False):
        draw_band(panel, line["turn"], line[["wait_s", "low_s", "high_s"]], look[str(policy)], str(policy))
    panel.set(
        xlabel="turn of the program (0 is the first)",
        ylabel="mean queue wait (s)",
        xlim=(0, rows["turn"].max()),
        ylim=(0, top_of(rows["wait_s"], rows["high_s"])),
        title=held_title(table.held),
    )
    panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    if rows["wait_s"].max() > _OUTLYING * rows["wait_s"].median() > 0:
        _stretch(panel, float(rows["wait_s"].median()))
    legend_above(figure, panel)
    return figure


def _stretch(panel: Axes, usual_s: float) -> None:
    """Make the axis logarithmic above the usual wait: the first turns wait many times longer than all others."""
    from matplotlib.ticker import FuncFormatter

    panel.set_yscale("symlog", linthresh=10 ** math.floor(math.log10(usual_s)), linscale=0.5)
    panel.yaxis.set_major_formatter(FuncFormatter(plain_number))
    panel.minorticks_off()


FIGURE = FigureSpec(
    name="wait-per-turn",
    shows="Queue wait of a turn until it is first scheduled, by its index in the program",
    needs="runs with their turns.parquet",
    tabulate=tabulate,
    draw=draw,
    place=70,
)
