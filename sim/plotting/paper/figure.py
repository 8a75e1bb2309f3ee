"""The definition of a figure of the paper: scenarios to run, published values, and how both are drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from continuum_sim.plotting.data import FigureData
from continuum_sim.plotting.spec import FigureTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class PaperFigure:
    """The analogue of one published figure."""

    name: str
    shows: str
    """First sentence of the caption, without its full stop."""
    scenarios: tuple[str, ...]
    """Names of the scenarios whose cells it needs."""
    tabulate: Callable[[Mapping[str, FigureData]], FigureTable]
    """Makes the table from the cells of each scenario."""
    draw: Callable[[FigureTable], Figure]
    sustained: bool = False
    """Whether it shows the loads that its scenarios' engines sustain, instead of runs of their loads."""
