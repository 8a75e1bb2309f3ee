"""A distribution of any shape, as the quantiles of a sample."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
import numpy as np

LEVELS: Final = (*(i / 100 for i in range(100)), *(0.99 + i / 1000 for i in range(1, 11)))
"""Every hundredth, and every thousandth in the last hundredth: tails cause much of a workload's cost."""
_FIGURES: Final = 6


class Quantiles(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The quantiles of a sample at `LEVELS`, uniform between them.

    Attributes
    ----------
    values
        In the sample's unit, non-decreasing, to six figures.
    """

    values: Annotated[tuple[float, ...], msgspec.Meta(min_length=len(LEVELS), max_length=len(LEVELS))]

    def __post_init__(self) -> None:
        if not all(np.isfinite(self.values)) or any(np.diff(self.values) < 0) or self.values[0] < 0:
            raise ValueError("quantiles do not rise from 0, expected finite numbers, each at least the one before")

    @classmethod
    def of(cls, sample: Iterable[float]) -> Quantiles:
        """Return the quantiles of a non-empty sample, interpolated linearly."""
        values = np.quantile(np.fromiter(sample, dtype=float), LEVELS)
        return cls(tuple(float(f"{value:.{_FIGURES}g}") for value in values))

    def at(self, level: float) -> float:
        """Return the quantile at a level from 0 to below 1."""
        place = level * 100 if level < 0.99 else 99 + (level - 0.99) * 1000
        index = min(int(place), len(self.values) - 2)
        low = self.values[index]
        return low + (self.values[index + 1] - low) * min(place - index, 1.0)
