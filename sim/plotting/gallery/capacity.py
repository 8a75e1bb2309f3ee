"""Capacity: the largest load a policy carries within a bound on the JCT."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.against import across
from continuum_sim.plotting.bars import bar_height, name_bars
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.estimates import crossing, over_seeds
from continuum_sim.plotting.legend import legend_above
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import BLUE, COLUMN_IN, ORANGE, new_figure
from continuum_sim.plotting.titles import held_title

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STATISTICS: Final = {"mean": (BLUE, "o"), "p95": (ORANGE, "D")}
_TIMES_UNLOADED: Final = 2.0
"""Default bound, as a multiple of the shortest JCT at the lowest rate."""


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """One row a statistic and policy: the largest rate up to which the statistic stays within its target."""
    data, held = across(data, "rate", what="the arrival rate")
    rows = []
    for statistic in _STATISTICS:
        lowest = data.cells[data.cells["rate"] == data.cells["rate"].min()]
        unloaded_s = float(lowest.groupby("policy")[f"jct_{statistic}_s"].mean().min())
        target_s = _TIMES_UNLOADED * unloaded_s if options.jct_target_s is None else options.jct_target_s
        for policy in data.policies:
            own = data.cells[data.cells["policy"] == policy]
            curves = own.pivot_table(index="rate", columns="seed", values=f"jct_{statistic}_s").dropna(axis=1)
            rows.append({"policy": policy, "statistic": statistic, "target_s": target_s, **_capacity(curves, target_s)})
    note = (
        "Largest rate up to which the statistic stays at or below its target, linear between the rates that were run; "
        "points and whiskers: mean over seeds and its 95 % Student t interval. Arrows: beyond the rates that were run"
    )
    return FigureTable(pd.DataFrame(rows), note, held)


def _capacity(curves: pd.DataFrame, target_s: float) -> dict[str, Any]:
    """Estimate over seeds; where a seed's curve lies on one side of the target, by the mean curve, without interval."""
    rates = curves.index.to_numpy()
    each = [crossing(rates, curves[seed].to_numpy(), target_s) for seed in curves]
    if each and np.isfinite(each).all():
        estimate = over_seeds(each)
        return {"rate": estimate.value, "beyond": "", **dict(zip(("low", "high", "seeds"), estimate[1:], strict=True))}
    rate = crossing(rates, curves.mean(axis=1).to_numpy(), target_s)
    beyond = "below" if math.isnan(rate) else "above" if math.isinf(rate) else ""
    shown = {"below": float(rates.min()), "above": float(rates.max()), "": rate}[beyond]
    return {"rate": shown, "beyond": beyond, "low": math.nan, "high": math.nan, "seeds": len(each)}


def draw(table: FigureTable) -> Figure:
    """Draw a point a policy and statistic, with an arrow where the capacity lies outside of what was run."""
    rows = table.rows
    policies = list(dict.fromkeys(rows["policy"]))
    figure = new_figure(COLUMN_IN, bar_height(len(policies), each_in=0.3) + 0.25)
    panel = figure.subplots()
    for at, (statistic, (colour, marker)) in enumerate(_STATISTICS.items()):
        part = rows[rows["statistic"] == statistic]
        y = np.array([policies.index(policy) for policy in part["policy"]]) + 0.3 * at - 0.15
        ends = np.array([part["rate"] - part["low"], part["high"] - part["rate"]])
        label = f"{statistic} JCT ≤ {part['target_s'].iloc[0]:,.0f} s"
        panel.errorbar(part["rate"], y, xerr=ends, fmt=marker, color=colour, capsize=2, elinewidth=0.8, label=label)
        for rate, beyond, height in zip(part["rate"], part["beyond"], y, strict=True):
            if beyond:
                _arrow(panel, rate, height, 1 if beyond == "above" else -1, colour)
    name_bars(panel, policies)
    right = 1.12 * float(np.nanmax([*rows["rate"], *rows["high"]]))
    panel.set(xlabel="capacity (programs/s)", xlim=(0, right), title=held_title(table.held))
    panel.grid(visible=True, axis="x")
    legend_above(figure, panel)
    return figure


def _arrow(panel: Axes, rate: float, height: float, direction: int, colour: str) -> None:
    """Point from a dot to where the capacity lies."""
    panel.annotate(
        "",
        xy=(rate, height),
        xytext=(16 * direction, 0),
        textcoords="offset points",
        arrowprops={"arrowstyle": "<-", "color": colour, "lw": 0.9, "shrinkA": 0, "shrinkB": 2},
    )


FIGURE = FigureSpec(
    name="capacity",
    shows="Capacity: the largest arrival rate at which the job completion time stays within a target",
    needs="runs at two arrival rates or more",
    tabulate=tabulate,
    draw=draw,
    place=90,
)
