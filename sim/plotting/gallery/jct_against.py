"""JCT against one setting on the axis: load, a memory tier, and the bounds of a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from continuum_sim.plotting.against import draw_jct_against, jct_against
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def _jct_against(
    setting: str,
    axis: str,
    *,
    what: str,
    statistics: Sequence[str] = ("mean", "p95"),
    name: str,
    place: int,
    shows: str,
    needs: str,
) -> FigureSpec:
    """Make the figure of a setting: one row per policy, value and statistic; one panel per statistic."""

    def tabulate(data: FigureData, options: FigureOptions) -> FigureTable:
        return jct_against(data, setting, statistics, what=what)

    def draw(table: FigureTable) -> Figure:
        return draw_jct_against(table, setting, axis)

    return FigureSpec(name=name, shows=shows, needs=needs, tabulate=tabulate, draw=draw, place=place)


JCT_VS_RATE = _jct_against(
    "rate",
    "arrival rate (programs/s)",
    what="the arrival rate",
    statistics=("mean", "p90", "p95"),
    name="jct-vs-rate",
    shows="Job completion time against the arrival rate: mean, 90th and 95th percentile over programs",
    needs="runs at two arrival rates or more",
    place=10,
)
"""From which rate policies differ, and by how much."""

DRAM_SIZE = _jct_against(
    "dram_gb",
    "DRAM tier (GB)",
    what="the size of the DRAM tier (dram_gb)",
    name="dram-size",
    shows="Job completion time against the size of the host DRAM tier",
    needs="runs at two sizes of the DRAM tier (dram_gb) or more",
    place=110,
)
"""What a second tier gains, and whether policies still differ with it."""

CHUNK_SIZE = _jct_against(
    "max_num_batched_tokens",
    "token budget of a step (tokens)",
    what="max_num_batched_tokens",
    name="chunk-size",
    shows="Job completion time against the token budget of a step, the chunk size of prefill",
    needs="runs at two values of max_num_batched_tokens or more",
    place=120,
)
"""Small chunks spare decoding turns, large ones finish prompts sooner."""

BATCH_SIZE = _jct_against(
    "max_num_seqs",
    "largest batch (turns)",
    what="max_num_seqs",
    name="batch-size",
    shows="Job completion time against the largest number of turns that run at once",
    needs="runs at two values of max_num_seqs or more",
    place=130,
)
"""More turns at once share steps, and memory."""
