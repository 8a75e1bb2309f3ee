"""JCT against the size of the host DRAM tier: what a second tier is worth, and whether policies differ beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuum_sim.plotting.against import draw_jct_against, jct_against
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """One row a policy, value and statistic."""
    return jct_against(data, "dram_gb", ("mean", "p95"), what="the size of the DRAM tier (dram_gb)")


def draw(table: FigureTable) -> Figure:
    """Two panels over one axis."""
    return draw_jct_against(table, "dram_gb", "DRAM tier (GB)")


FIGURE = FigureSpec(
    name="dram-size",
    shows="Job completion time against the size of the host DRAM tier",
    needs="runs at two sizes of the DRAM tier (dram_gb) or more",
    tabulate=tabulate,
    draw=draw,
    place=110,
)
