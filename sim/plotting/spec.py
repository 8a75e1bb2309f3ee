"""What a figure is: a name, the data it needs, the table it shows, and how the table is drawn."""

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
    """What a reader may choose about figures."""

    baseline: str | None = None
    """Policy that ratios are to; None takes `lru` where it was run, else the first."""

    def baseline_of(self, policies: list[str]) -> str:
        """Name the policy that ratios are to."""
        if self.baseline is not None:
            return self.baseline
        return "lru" if "lru" in policies else policies[0]


@dataclass(frozen=True)
class FigureTable:
    """Everything a picture shows; it is written beside it as CSV."""

    rows: pd.DataFrame
    note: str
    """For the caption: what the numbers and their intervals are."""
    held: Mapping[str, Any] = field(default_factory=dict)
    """Settings that vary in the data and were held at one value."""


@dataclass(frozen=True)
class FigureSpec:
    """One kind of figure. Packages ship their own under the entry point group `continuum_sim.figures`."""

    name: str
    shows: str
    """First sentence of the caption, without its full stop."""
    needs: str
    """What data it takes, for a reader who wonders why it was skipped."""
    tabulate: Callable[[FigureData, FigureOptions], FigureTable]
    """Raises `MissingData` where the data do not suffice."""
    draw: Callable[[FigureTable], Figure]
    """Called inside `styled()`; takes everything from the table."""
    place: int = 1_000
    """Where it comes when figures are listed and drawn: smallest first, then by name."""
    curves: bool = False
    """Whether it takes points of service curves, which `capacity` measures and which have no JCT, beside runs."""

    def take(self, data: FigureData, options: FigureOptions) -> FigureTable:
        """Make the table from what of the data it takes.

        Raises
        ------
        MissingData
            If that does not suffice.
        """
        if not self.curves:
            data = data.where(data.cells["jct_mean_s"].notna())
            if not len(data.cells):
                raise MissingData("needs runs; `capacity` keeps none")
        return self.tabulate(data, options)
