"""The definition of a figure: its name, the data it needs, the table it shows, and how the table is drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pandas as pd

from continuum_sim.plotting.data import FigureData, MissingData

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class FigureOptions:
    """Options that apply to all figures."""

    baseline: str | None = None
    """Policy that ratios compare with; None takes `lru` if it was run, otherwise the first."""

    def baseline_of(self, policies: list[str]) -> str:
        """Return the name of the policy that ratios compare with."""
        if self.baseline is not None:
            return self.baseline
        return "lru" if "lru" in policies else policies[0]


@dataclass(frozen=True)
class FigureTable:
    """Everything that a picture shows; written next to it as CSV."""

    rows: pd.DataFrame
    note: str
    """Part of the caption that says what the numbers and their intervals are."""
    held: Mapping[str, Any] = field(default_factory=dict)
    """Settings that vary in the data and were held at one value."""


@dataclass(frozen=True)
class FigureSpec:
    """One kind of figure. Packages ship their own under the entry point group `continuum_sim.figures`."""

    name: str
    shows: str
    """First sentence of the caption, without its full stop."""
    needs: str
    """Data that it needs, to explain why it was skipped."""
    tabulate: Callable[[FigureData, FigureOptions], FigureTable]
    """Makes the table; raises `MissingData` if the data are insufficient."""
    draw: Callable[[FigureTable], Figure]
    """Draws the table alone; called inside `styled()`."""
    place: int = 1_000
    """Rank in listing and drawing: smallest first, then by name."""
    curves: bool = False
    """Whether it also takes points of service curves, which `capacity` measures and which have no JCT."""

    def take(self, data: FigureData, options: FigureOptions) -> FigureTable:
        """Make the table from the part of the data that the figure takes.

        Raises
        ------
        MissingData
            If that is insufficient.
        """
        if not self.curves:
            data = data.where(data.cells["jct_mean_s"].notna())
            if not len(data.cells):
                raise MissingData("needs runs; `capacity` keeps none")
        return self.tabulate(data, options)
