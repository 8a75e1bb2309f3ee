"""Search for the largest rate at which something still holds, on a fixed scale of rates."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

FINE: Final = 0.04
"""Step of the scale, in the logarithm of the rate, after a burst: seeds differ by about as much."""
COARSE: Final = 0.08
"""The same from empty, where seeds differ by more: an extra seed says more than a finer step would."""


class Threshold(NamedTuple):
    """Where something stops holding, for one seed: between two neighbours on the scale."""

    low_per_s: float
    """Largest rate at which it holds; 0 if none was found."""
    high_per_s: float
    """Next rate on the scale, at which it no longer holds."""
    runs: int
    """Runs needed to find it."""


def rate_at(place: int, step: float) -> float:
    """Return a rate of the scale: the same for all policies and seeds, in programs per second."""
    return math.exp(step * place)


def find_threshold(
    holds: Callable[[float], bool], *, step: float, begin_per_s: float, least_per_s: float, most_per_s: float
) -> Threshold:
    """Return two neighbours on the scale such that `holds` is true only for the lower one.

    Starting at `begin_per_s`, the search doubles its stride until it has bracketed the threshold, then bisects.

    Parameters
    ----------
    holds
        Takes a rate; true up to some rate, and false above.
    step
        Step of the scale.
    begin_per_s
        Where the threshold is likely to be.
    least_per_s, most_per_s
        Bounds of the search.
    """

    def nearest(rate: float) -> int:
        return round(math.log(rate) / step)

    least, most = nearest(least_per_s), nearest(most_per_s) + 1
    known: dict[int, bool] = {}

    def told(place: int) -> bool:
        if place <= least or place >= most:
            return place <= least  # assumed at the bounds; `holds` is not called there
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
