"""Figure 5: the share of a tool's time that its slowest tenth of calls takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.marks import bar_height, legend_above, name_bars
from continuum_sim.plotting.paper.figure import PaperFigure
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import BLUE, COLUMN_IN, GREY, new_figure
from continuum_sim.published import find_published
from continuum_sim.traces import find_trace, read_programs, trace_stats

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_TRACES: Final = {"fetch_url": "bfcl.jsonl", "cd": "swebench.jsonl"}
"""Tool that the paper names -> the bundled trace of the same benchmark."""


def tabulate(cells: Mapping[str, FigureData]) -> FigureTable:
    """Return one row per tool: the published share and that of the bundled trace."""
    figure = find_published("fig05-tails")
    rows = []
    for point in figure.points:
        trace = _TRACES[point.series]
        tools = {tool.tool: tool for tool in trace_stats(read_programs(find_trace(trace))).tools}
        tool = tools[point.series]
        rows.append((point.series, trace, tool.calls, point.value, tool.slowest_tenth_share))
    columns = ["tool", "trace", "calls", "published_share", "share"]
    note = f"Published: {figure.source}. Ours: the bundled traces of the same benchmarks"
    return FigureTable(pd.DataFrame(rows, columns=columns), note)


def draw(table: FigureTable) -> Figure:
    """Draw two bars per tool."""
    rows = table.rows
    figure = new_figure(COLUMN_IN, bar_height(len(rows), each_in=0.42))
    panel = figure.subplots()
    at = np.arange(len(rows))
    hatched: dict[str, Any] = {"color": GREY, "hatch": "////", "edgecolor": "white", "lw": 0}
    panel.barh(at - 0.2, 100 * rows["published_share"], 0.36, label="published", **hatched)
    panel.barh(at + 0.2, 100 * rows["share"], 0.36, color=BLUE, label="bundled trace")
    panel.set(xlim=(0, 100), xlabel="tool time in the slowest tenth of calls (%)")
    name_bars(panel, [f"{row.tool}\n{row.calls} calls" for row in rows.itertuples()])
    legend_above(figure, panel)
    return figure


FIGURE = PaperFigure(
    name="paper-fig05",
    shows="Share of a tool's total time that its slowest tenth of calls takes (Figure 5)",
    scenarios=(),
    tabulate=tabulate,
    draw=draw,
)
