"""JCT against the batch size: more turns at once share steps, and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuum_sim.plotting.against import draw_jct_against, jct_against
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """One row a policy, value and statistic."""
    return jct_against(data, "max_num_seqs", ("mean", "p95"), what="max_num_seqs")


def draw(table: FigureTable) -> Figure:
    """Two panels over one axis."""
    return draw_jct_against(table, "max_num_seqs", "largest batch (turns)")


FIGURE = FigureSpec(
    name="batch-size",
    shows="Job completion time against the most turns that run at once",
    needs="runs at two values of max_num_seqs or more",
    tabulate=tabulate,
    draw=draw,
    place=130,
)
