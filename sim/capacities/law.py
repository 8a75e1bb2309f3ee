"""The distribution of the rates at which services collapse from empty."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from continuum_sim.capacities.search import Threshold

FEW: Final = 0.05
"""Share of services that may collapse at a rate that counts as holding."""
HALF: Final = 0.5
_STEEPEST: Final = 100.0
"""Shape at which the rates of 5 % and 50 % are 2.6 % apart: the thresholds of a few seeds can look that steep."""
_FLATTEST: Final = 1.0
_SHAPES: Final = 60
"""Number of shapes on the grid, in geometric progression."""
_SCALE_STEP: Final = 0.004
"""Step of the grid of scales, in the logarithm of the rate."""
_AROUND: Final = 0.3
"""How far the grid extends beyond the thresholds, in the logarithm of the rate."""
_MOST_LOG: Final = 30.0
_DRAWS: Final = 400
_OUTSIDE: Final = 2.5
"""Per cent of draws outside an interval on each side."""


@dataclass(frozen=True, slots=True)
class Law:
    """P(a service collapses at rate λ) = 1 − exp(−(λ/scale)^shape), Weibull's: the weakest of many links.

    The probability of a birth-death chain falls faster towards low rates. The rate at which few collapse, which a few
    seeds can only extrapolate, therefore comes out up to a tenth too low.
    """

    scale_per_s: float
    shape: float

    def rate(self, share: float) -> float:
        """Return the rate at which this share of services collapses."""
        return self.scale_per_s * math.exp(math.log(-math.log1p(-share)) / self.shape)


def fit_law(thresholds: Sequence[Threshold]) -> Law:
    """Return the maximum-likelihood law for thresholds, each known to lie between two rates.

    Parameters
    ----------
    thresholds
        One per seed, each with a lower end above 0.
    """
    return _Likelihood(thresholds).law(np.ones(len(thresholds)))


def rate_intervals(
    thresholds: Sequence[Threshold], rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return 95 % intervals of the rates at which `FEW` and `HALF` of the services collapse, by resampling seeds."""
    likelihood = _Likelihood(thresholds)
    seeds = len(thresholds)
    laws = [likelihood.law(drawn) for drawn in rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=_DRAWS)]
    low, high = np.percentile([[law.rate(FEW), law.rate(HALF)] for law in laws], (_OUTSIDE, 100 - _OUTSIDE), axis=0)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))


class _Likelihood:
    """Log-likelihood of every threshold on a grid of laws; that of a resample is a weighted sum of them."""

    def __init__(self, thresholds: Sequence[Threshold]) -> None:
        places, self._which = np.unique([item[:2] for item in thresholds], axis=0, return_inverse=True)
        low, high = np.log(places).T
        scale = np.arange(low.min() - _AROUND, high.max() + _AROUND, _SCALE_STEP)
        shape = np.geomspace(_FLATTEST, _STEEPEST, _SHAPES)
        self._scale, self._shape = (grid.ravel() for grid in np.meshgrid(scale, shape))
        # Cumulative hazard at both ends; P(in between) = exp(−lower) − exp(−upper).
        lower, upper = (
            np.exp(np.minimum(self._shape[:, None] * (end - self._scale[:, None]), _MOST_LOG)) for end in (low, high)
        )
        with np.errstate(divide="ignore"):
            self._log = np.maximum(np.log(-np.expm1(lower - upper)) - lower, -1e300)

    def law(self, counts: np.ndarray) -> Law:
        """Return the maximum-likelihood law if each threshold occurs `counts` times."""
        weights = np.bincount(self._which.ravel(), counts, self._log.shape[1])
        best = int(np.argmax(self._log @ weights))
        return Law(math.exp(self._scale[best]), float(self._shape[best]))
