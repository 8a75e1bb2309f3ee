"""The largest rate at which something still holds, on a fixed scale of rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

STEP: Final = 0.04
"""Of the logarithm of the rate, between neighbours on the scale. Seeds differ by about twice as much, so that a finer
one would say little more of their law."""
_STRIDE: Final = 2
"""Places to go at first, from where the search begins."""


class Threshold(NamedTuple):
    """Where something stops to hold, for one seed: between two neighbours on the scale."""

    low_per_s: float
    """It holds here; 0 where no rate was found at which it does."""
    high_per_s: float
    """And no longer here."""
    runs: int
    """That it took to find."""

    @property
    def log_middle(self) -> float:
        """Logarithm of the rate half way between; minus infinity where it never holds."""
        return math.log(self.low_per_s * self.high_per_s) / 2 if self.low_per_s else -math.inf


def rate_at(place: int) -> float:
    """Return a rate of the scale: the same for all policies and seeds, in programs per second."""
    return math.exp(STEP * place)


def find_threshold(
    holds: Callable[[float], bool], *, begin_per_s: float, least_per_s: float, most_per_s: float
) -> Threshold:
    """Look for neighbours on the scale, of which `holds` is true of the lower one alone.

    It goes up or down from where it begins until they are between two places, and halves the distance from there on.

    Parameters
    ----------
    holds
        Takes a rate; true up to some rate, and false above.
    begin_per_s
        Where it is likely to be.
    least_per_s, most_per_s
        Rates at and beyond which nobody looks.
    """
    least, most = _place(least_per_s), _place(most_per_s) + 1
    known: dict[int, bool] = {}

    def told(place: int) -> bool:
        if place <= least or place >= most:
            return place <= least  # for the search's sake; nothing was asked there
        if place not in known:
            known[place] = holds(rate_at(place))
        return known[place]

    low = high = min(max(_place(begin_per_s), least + 1), most - 1)
    stride = _STRIDE
    if told(low):
        while told(high := min(low + stride, most)):
            low, stride = high, 2 * stride
    else:
        while not told(low := max(high - stride, least)):
            high, stride = low, 2 * stride
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if told(middle) else (low, middle)
    return Threshold(rate_at(low) if low > least else 0.0, rate_at(high), len(known))


def _place(rate: float) -> int:
    return round(math.log(rate) / STEP)
