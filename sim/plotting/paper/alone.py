"""Figures published as pictures without values: only ours, over the same axis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from continuum_sim.plotting.against import draw_jct_against, jct_against
from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.paper.figure import PaperFigure
from continuum_sim.plotting.spec import FigureTable
from continuum_sim.plotting.style import DARK_GREY
from continuum_sim.scenarios import find_scenario

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ALONE: Final = "simulated; published without values"


def alone(
    name: str,
    shows: str,
    scenario: str,
    setting: str,
    label: str,
    statistics: Sequence[str] = ("mean", "p95"),
    only: tuple[str, float] | None = None,
) -> PaperFigure:
    """Make the figure of a scenario's JCT over one of its settings.

    Parameters
    ----------
    setting
        The setting on the axis.
    label
        Label of the axis, with its unit.
    only
        Another setting of the scenario's grid, and the value at which this figure is drawn.
    """

    def tabulate(cells: Mapping[str, FigureData]) -> FigureTable:
        data = cells[scenario]
        if only is not None:
            data = data.where(data.cells[only[0]] == only[1])
        table = jct_against(data, setting, statistics, what=setting)
        published = find_scenario(scenario).published.rstrip(".")
        note = f"{table.note}. Ours alone: the paper shows this as a picture without values. Published: {published}"
        return FigureTable(table.rows, note, table.held)

    def draw(table: FigureTable) -> Figure:
        figure = draw_jct_against(table, setting, label)
        say_alone(figure)
        return figure

    return PaperFigure(name, shows, (scenario,), tabulate, draw)


def say_alone(figure: Figure) -> None:
    """State in the picture itself that it shows no published values."""
    figure.axes[0].set_title(ALONE, size=6.5, color=DARK_GREY, loc="left")


OPENHANDS: Final = alone(
    "paper-fig09",
    "Job completion time against the arrival rate, OpenHands agents (Figure 9)",
    "continuum-fig09-openhands",
    "rate",
    "arrival rate (programs/s)",
)
TAILS: Final = alone(
    "paper-fig11",
    "90th and 95th percentile of the job completion time against the arrival rate, with a DRAM tier (Figure 11)",
    "continuum-fig11-swe",
    "rate",
    "arrival rate (programs/s)",
    ("p90", "p95"),
)
CHUNK: Final = alone(
    "paper-fig13-chunk",
    "Job completion time against the token budget of a step, max_num_batched_tokens (Figure 13)",
    "continuum-fig13-chunk",
    "max_num_batched_tokens",
    "token budget of a step (tokens)",
)
BATCH: Final = alone(
    "paper-fig13-batch",
    "Job completion time against the largest batch, max_num_seqs (Figure 13)",
    "continuum-fig13-batch",
    "max_num_seqs",
    "largest batch (turns)",
)
SSD: Final = tuple(
    alone(
        f"paper-fig15-{size_gb}gb",
        f"Job completion time against the arrival rate, with an SSD of {size_gb} GB below the DRAM tier (Figure 15)",
        "continuum-fig15-ssd",
        "rate",
        "arrival rate (programs/s)",
        only=("ssd_gb", size_gb),
    )
    for size_gb in (400, 800)
)
