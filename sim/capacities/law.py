"""The law by which services collapse from empty: at which rates a given share of them does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from continuum_sim.capacities.search import Threshold

FEW: Final = 0.05
"""Share of services that may collapse at the rate that is said to hold."""
HALF: Final = 0.5
_STEEPEST: Final = 100.0
"""A shape at which 5 % and half of the services are 2.6 % apart: thresholds of a few seeds can look like one."""
_FLATTEST: Final = 1.0
_DRAWS: Final = 400
_OUTSIDE: Final = 2.5
"""Per cent of draws on either side of an interval."""


@dataclass(frozen=True, slots=True)
class Law:
    """P(a service collapses at rate λ) = 1 − exp(−(λ/scale)^shape), Weibull's: the weakest of many links."""

    scale_per_s: float
    shape: float

    def rate(self, share: float) -> float:
        """Return the rate at which this share of services collapses."""
        return self.scale_per_s * math.exp(math.log(-math.log1p(-share)) / self.shape)


def fit_law(thresholds: Sequence[Threshold]) -> Law:
    """Return the likeliest law of thresholds of which each is known to lie between two rates.

    Parameters
    ----------
    thresholds
        One a seed, all with a lower end above 0.
    """
    from scipy.optimize import minimize

    low, high = np.log([[item.low_per_s, item.high_per_s] for item in thresholds]).T

    def loss(at: np.ndarray) -> float:
        shape = math.exp(at[1])
        # Survival at both ends; the difference is the chance of a threshold in between.
        cumulated_low, cumulated_high = np.exp(shape * (low - at[0])), np.exp(shape * (high - at[0]))
        chance = np.exp(-np.minimum(cumulated_low, 700)) * -np.expm1(cumulated_low - cumulated_high)
        return -float(np.log(np.maximum(chance, 1e-300)).sum())

    middle = (low + high) / 2
    # The standard deviation of the logarithm of a Weibull variable is π/(√6 shape).
    spread = max(float(middle.std()), 0.5 * float((high - low).mean()))
    begin = [float(middle.mean()) + 0.45 * spread, math.log(min(max(1.28 / spread, _FLATTEST), _STEEPEST))]
    bounds = [(float(low.min()) - 1, float(high.max()) + 1), (math.log(_FLATTEST), math.log(_STEEPEST))]
    found = minimize(loss, begin, method="L-BFGS-B", bounds=bounds).x
    return Law(math.exp(found[0]), math.exp(found[1]))


def rate_intervals(
    thresholds: Sequence[Threshold], rng: np.random.Generator
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return 95 % intervals of the rates at which few and half of the services collapse, by resampling seeds."""
    found = []
    for _ in range(_DRAWS):
        drawn = rng.integers(len(thresholds), size=len(thresholds))
        law = fit_law([thresholds[place] for place in drawn])
        found.append((law.rate(FEW), law.rate(HALF)))
    low, high = np.percentile(found, (_OUTSIDE, 100 - _OUTSIDE), axis=0)
    return (float(low[0]), float(high[0])), (float(low[1]), float(high[1]))
