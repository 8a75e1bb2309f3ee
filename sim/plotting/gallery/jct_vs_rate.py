"""JCT against load: where policies part, and by how much."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuum_sim.plotting.against import draw_jct_against, jct_against
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """One row a policy, rate and statistic."""
    return jct_against(data, "rate", ("mean", "p90", "p95"), what="the arrival rate")


def draw(table: FigureTable) -> Figure:
    """Three panels over one axis of rates."""
    return draw_jct_against(table, "rate", "arrival rate (programs/s)")


FIGURE = FigureSpec(
    name="jct-vs-rate",
    shows="Job completion time against the arrival rate: mean, 90th and 95th percentile over programs",
    needs="runs at two arrival rates or more",
    tabulate=tabulate,
    draw=draw,
    place=10,
)
