"""The gain of each policy, or each plane of one, over a baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.estimates import interval_note, ratio_each
from continuum_sim.plotting.held import hold
from continuum_sim.plotting.marks import bar_height, held_title, legend_above, name_bars
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable
from continuum_sim.plotting.style import BLACK, BLUE, COLUMN_IN, ORANGE, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STATISTICS: Final = {"mean": (BLUE, ""), "p95": (ORANGE, "////")}


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """Return one row per statistic and policy: its JCT divided by the baseline's."""
    data, held = hold(data)
    baseline = options.baseline_of(data.policies)
    if baseline not in data.policies or len(data.policies) < 2:
        raise MissingData(f"needs the baseline {baseline} and another policy; there are {', '.join(data.policies)}")
    parts, cells = [], data.with_jct()
    for statistic in _STATISTICS:
        part = ratio_each(cells, [], f"jct_{statistic}_s", baseline, drawn=data.drawn)
        part.insert(0, "statistic", statistic)
        part.insert(2, "baseline", baseline)
        parts.append(part)
    note = interval_note(drawn=data.drawn, of="ratio of the statistics")
    return FigureTable(pd.concat(parts, ignore_index=True), f"Bars and whiskers: {note}", held)


def draw(table: FigureTable) -> Figure:
    """Draw two bars per policy; left of 1 is faster than the baseline."""
    rows = table.rows
    policies = list(dict.fromkeys(rows["policy"]))
    figure = new_figure(COLUMN_IN, bar_height(len(policies), each_in=0.34) + 0.15)
    panel = figure.subplots()
    for at, (statistic, (colour, hatch)) in enumerate(_STATISTICS.items()):
        part = rows[rows["statistic"] == statistic].set_index("policy").loc[policies]
        ends = np.array([part["ratio"] - part["low"], part["high"] - part["ratio"]])
        panel.barh(
            np.arange(len(policies)) + 0.38 * at - 0.19,
            part["ratio"],
            0.36,
            color=colour,
            hatch=hatch,
            edgecolor="white",
            lw=0,
            xerr=ends,
            error_kw={"elinewidth": 0.8, "capsize": 1.5, "ecolor": BLACK},
            label=statistic,
        )
    panel.axvline(1, color=BLACK, lw=0.8)
    name_bars(panel, policies)
    panel.set(xlabel=f"JCT, as a multiple of that under {rows['baseline'].iloc[0]}", title=held_title(table.held))
    legend_above(figure, panel)
    return figure


FIGURE = FigureSpec(
    name="ablation",
    shows="Job completion time of every policy as a multiple of the baseline's, on the same programs and arrivals",
    needs="runs of two policies or more under the same seeds",
    tabulate=tabulate,
    draw=draw,
    place=50,
)
