"""Figure 13: the gain over chunk sizes and batch sizes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from continuum_sim.plotting.against import draw_jct_against, jct_against
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.paper.spec import PaperFigure
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.scenarios import find_scenario

if TYPE_CHECKING:
    pass


def _sensitivity(name: str, scenario: str, setting: str, words: str, unit: str) -> PaperFigure:
    def tabulate(cells: Mapping[str, FigureData]) -> FigureTable:
        table = jct_against(cells[scenario], setting, ("mean", "p95"), what=setting)
        return FigureTable(table.rows, f"{table.note}. Published: {find_scenario(scenario).published}".rstrip("."))

    draw = partial(draw_jct_against, x=setting, label=f"{words} ({unit})")
    return PaperFigure(
        name, f"Job completion time against the {words}, {setting} (Figure 13)", (scenario,), tabulate, draw
    )


CHUNK = _sensitivity(
    "paper-fig13-chunk", "continuum-fig13-chunk", "max_num_batched_tokens", "token budget of a step", "tokens"
)
BATCH = _sensitivity("paper-fig13-batch", "continuum-fig13-batch", "max_num_seqs", "largest batch", "turns")
