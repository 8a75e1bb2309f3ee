"""Figure 14: the gain as programs have more turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import pandas as pd

from continuum_sim.plotting.against import draw_band, one_line
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.estimates import interval_note, ratio_each
from continuum_sim.plotting.marks import legend_above
from continuum_sim.plotting.paper.figure import PaperFigure
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import BLACK, BLUE, Look, new_figure
from continuum_sim.published import find_published

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCENARIO: Final = "continuum-fig14-turns"
_BASELINE, _POLICY = "lru", "ttl"


def tabulate(cells: Mapping[str, FigureData]) -> FigureTable:
    """Return one row per source (published, simulated) and number of turns, as a multiple of the trace's."""
    data = cells[_SCENARIO]
    ours = data.with_jct().rename(columns={"repeat_turns": "times"}).sort_values("times", kind="stable")
    ratios = ratio_each(ours, ["times"], "jct_mean_s", _POLICY, drawn=data.drawn)
    simulated = ratios[ratios["policy"] == _BASELINE].drop(columns="policy")
    simulated.insert(0, "source", "simulated")
    figure = find_published("fig14-turns")
    points = [("published", point.x, point.value) for point in figure.points]
    published = pd.DataFrame(points, columns=["source", "times", "ratio"])
    said = interval_note(drawn=data.drawn, of="ratio")
    note = f"Mean JCT of {_BASELINE} over that of {_POLICY}; simulated: {said}. Published: {figure.source}"
    return FigureTable(pd.concat([published, simulated], ignore_index=True), note)


def draw(table: FigureTable) -> Figure:
    """Draw two lines, published and ours."""
    figure = new_figure()
    panel = figure.subplots()
    look = {"published": Look(BLACK, "--", "s"), "simulated": Look(BLUE, "-", "o")}
    for source, line in table.rows.groupby("source", sort=False):
        draw_band(panel, line["times"], line[["ratio", "low", "high"]], look[str(source)], str(source))
    one_line(panel)
    panel.set(
        xlabel="turns a program, as a multiple of the trace's",
        ylabel=f"mean JCT, {_BASELINE} / {_POLICY}",
        xlim=(0, None),
        ylim=(0, 1.1 * float(table.rows["ratio"].max())),
    )
    legend_above(figure, panel)
    return figure


FIGURE = PaperFigure(
    name="paper-fig14",
    shows="The gain as programs have more and shorter turns (Figure 14)",
    scenarios=(_SCENARIO,),
    tabulate=tabulate,
    draw=draw,
)
