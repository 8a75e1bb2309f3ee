"""The largest rate at which something still holds, on a fixed scale of rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

FINE: Final = 0.04
"""A step of the scale, of the logarithm of the rate: after a burst seeds differ by about as much."""
COARSE: Final = 0.08
"""The same from empty, where they differ by more: what a finer one would tell is better had from one seed more."""


class Threshold(NamedTuple):
    """Where something stops to hold, for one seed: between two neighbours on the scale."""

    low_per_s: float
    """It holds here; 0 where no rate was found at which it does."""
    high_per_s: float
    """And no longer here."""
    runs: int
    """That it took to find."""


def rate_at(place: int, step: float) -> float:
    """Return a rate of the scale: the same for all policies and seeds, in programs per second."""
    return math.exp(step * place)


def find_threshold(
    holds: Callable[[float], bool], *, step: float, begin_per_s: float, least_per_s: float, most_per_s: float
) -> Threshold:
    """Look for neighbours on the scale, of which `holds` is true of the lower one alone.

    It goes up or down from where it begins until they are between two places, and halves the distance from there on.

    Parameters
    ----------
    holds
        Takes a rate; true up to some rate, and false above.
    step
        Of the scale.
    begin_per_s
        Where it is likely to be.
    least_per_s, most_per_s
        Rates at and beyond which nobody looks.
    """

    def nearest(rate: float) -> int:
        return round(math.log(rate) / step)

    least, most = nearest(least_per_s), nearest(most_per_s) + 1
    known: dict[int, bool] = {}

    def told(place: int) -> bool:
        if place <= least or place >= most:
            return place <= least  # for the search's sake; nothing was asked there
        if place not in known:
            known[place] = holds(rate_at(place, step))
        return known[place]

    low = high = min(max(nearest(begin_per_s), least + 1), most - 1)
    stride = 1
    if told(low):
        while told(high := min(low + stride, most)):
            low, stride = high, 2 * stride
    else:
        while not told(low := max(high - stride, least)):
            high, stride = low, 2 * stride
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if told(middle) else (low, middle)
    return Threshold(rate_at(low, step) if low > least else 0.0, rate_at(high, step), len(known))
