"""Predictions from a service curve: how a service recovers from a burst, and how long it holds without one.

μ(n) is the rate at which a system kept at n programs finishes work, in programs per second. Once more programs are
there than fit the KV cache, μ falls again: from there on, a backlog slows the service that should drain it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

CONGESTED_FITS: Final = 5
"""Programs from which the curve has reached its floor, as a multiple of what fits the KV cache."""
BURST_FITS: Final = CONGESTED_FITS
"""Default size of a burst, as a multiple of what fits: enough to reach that floor."""
HORIZON_BURSTS: Final = 15
"""Arrivals within which a burst must be gone, as a multiple of its size."""
_ABOVE_PEAK: Final = 1.1
"""Programs at which a burst counts as drained, as a multiple of the n of the peak."""
_FULL: Final = 0.98
"""Share of the peak from which the curve is as good as at the peak: a noisy one may peak anywhere on a plateau."""
LEFT_FULLS: Final = 3
"""Backlog beyond which there is no recovery, as a multiple of the n of the peak."""
_TOLERANCE: Final = 1e-6
_GRID: Final = 4_000


@dataclass(frozen=True, slots=True)
class ServiceCurve:
    """Measured points of μ(n), joined by straight lines; 0 at n = 0, and constant beyond the last point.

    Raises
    ------
    ValueError
        Unless there are points, n increases, and rates are above 0.
    """

    n: Sequence[float]
    per_s: Sequence[float]
    fits: float
    """Programs whose contexts fit the KV cache together."""

    def __post_init__(self) -> None:
        if len(self.n) != len(self.per_s) or not len(self.n):
            raise ValueError("a service curve needs one rate per number of programs, and at least one of each")
        if np.any(np.diff([0.0, *self.n]) <= 0) or min(self.per_s) <= 0:
            raise ValueError("a service curve needs increasing numbers of programs, and rates above 0")

    def at(self, n: np.ndarray) -> np.ndarray:
        """Return μ(n)."""
        rates: np.ndarray = np.interp(n, [0.0, *self.n], [0.0, *self.per_s])
        return rates

    @property
    def peak(self) -> tuple[float, float]:
        """The n at which the curve is highest, and its rate there."""
        place = int(np.argmax(self.per_s))
        return self.n[place], self.per_s[place]

    @property
    def full(self) -> float:
        """The smallest measured n at which the curve is as good as at its peak."""
        return next(n for n, rate in zip(self.n, self.per_s, strict=True) if rate >= _FULL * self.peak[1])

    def settled(self, rate: float) -> float:
        """Return the n on the rising part of the curve at which μ(n) equals `rate`; infinite above the peak."""
        n, rates = [0.0, *self.n], [0.0, *self.per_s]
        for place in range(1, len(n)):
            if rates[place] >= rate:
                return float(np.interp(rate, rates[place - 1 : place + 1], n[place - 1 : place + 1]))
        return math.inf

    @property
    def congested_per_s(self) -> float:
        """Floor of the curve beyond `CONGESTED_FITS` times what fits: the rate served however long the queue is."""
        beyond = [rate for n, rate in zip(self.n, self.per_s, strict=True) if n >= CONGESTED_FITS * self.fits]
        return min(beyond or [self.per_s[-1]])

    def recoverable_per_s(self, burst: float, horizon: float) -> float:
        """Return the highest rate λ at which a burst drains within `horizon` arrivals.

        With n programs in the system, n falls by μ(n) − λ per second, so the burst is gone after
        ∫ dn / (μ(n) − λ) seconds, with n from just above the peak to the burst; times λ, that is the arrivals needed.

        Parameters
        ----------
        burst, horizon
            In programs.
        """
        least = min(_ABOVE_PEAK * self.full, burst)
        n = np.linspace(least, burst, _GRID)
        rates = self.at(n)
        if least == burst:
            return self.peak[1]

        def arrivals(rate: float) -> float:
            return rate * float(np.trapezoid(1 / (rates - rate), n))

        return _highest(lambda rate: arrivals(rate) <= horizon, float(rates.min()))

    def from_empty_per_s(self, programs: int, share: float) -> float:
        """Return the rate at which a share of services collapses within `programs` arrivals from an empty system.

        Arrivals at rate λ and ends at rate μ(n) make a birth-death chain; hᵢ is the mean time from i to i + 1:
        h₀ = 1/λ, hᵢ = (1 + μᵢ hᵢ₋₁)/λ. Collapses are taken as a Poisson process, one every Σ hᵢ seconds on average,
        with i up to `LEFT_FULLS` times the n of the peak. A rate below the congested one never collapses.

        Parameters
        ----------
        programs
            Arrivals within which services may collapse.
        share
            Share of services that collapse, between 0 and 1.
        """
        wanted = -math.log1p(-share)
        rate = _highest(lambda rate: programs / (rate * self._escape_s(rate)) <= wanted, self.peak[1] * 2)
        return max(rate, self.congested_per_s)

    def collapse_share(self, rate: float, programs: int) -> float:
        """Return the share of services that collapse from empty within `programs` arrivals at this rate."""
        return -math.expm1(-programs / (rate * self._escape_s(rate)))

    def _escape_s(self, rate: float) -> float:
        """Return the mean time in seconds from empty to a backlog beyond recovery."""
        rates = self.at(np.arange(max(1, math.ceil(LEFT_FULLS * self.full))))
        total = step = 1 / rate
        for served in rates[1:].tolist():
            step = (1 + served * step) / rate
            total += step
        return total


def recoverable_from_floor(congested_per_s: float) -> float:
    """Return the recoverable rate of a curve that stays at its floor μ while the burst drains.

    A burst B is then gone after λ·B/(μ − λ) arrivals, which equal H = `HORIZON_BURSTS`·B at λ = μ·H/(H + B).
    """
    return congested_per_s * HORIZON_BURSTS / (HORIZON_BURSTS + 1)


def _highest(holds: Callable[[float], bool], above: float) -> float:
    """Return the highest rate for which `holds` is true, given that it is true below and false above, as at `above`."""
    low, high = 0.0, above
    while high - low > _TOLERANCE * above:
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low
