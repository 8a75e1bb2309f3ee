"""JCT against the chunk size of prefill: small chunks spare decoding turns, large ones finish prompts sooner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from continuum_sim.plotting.against import draw_jct_against, jct_against
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
    """One row a policy, value and statistic."""
    return jct_against(data, "max_num_batched_tokens", ("mean", "p95"), what="max_num_batched_tokens")


def draw(table: FigureTable) -> Figure:
    """Two panels over one axis."""
    return draw_jct_against(table, "max_num_batched_tokens", "token budget of a step (tokens)")


FIGURE = FigureSpec(
    name="chunk-size",
    shows="Job completion time against the token budget of a step, the chunk size of prefill",
    needs="runs at two values of max_num_batched_tokens or more",
    tabulate=tabulate,
    draw=draw,
    place=120,
)
