"""Random draws whose values do not change with NumPy's version.

NumPy keeps the stream of ``Generator.random()`` but may change how its other distributions use it
(NEP 19). A bundled trace must be reproducible from its seed byte for byte for years, so these draws use
only uniform numbers and invert the distribution function themselves.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final

import numpy as np

_STANDARD_NORMAL: Final = NormalDist()
# random() returns multiples of 2**-53, including 0, where the inverse has no value.
_SMALLEST_UNIFORM: Final = 2.0**-54


def standard_normal(rng: np.random.Generator) -> float:
    """Draw from the normal distribution with mean 0 and sd 1."""
    return _STANDARD_NORMAL.inv_cdf(max(rng.random(), _SMALLEST_UNIFORM))


def lognormal(rng: np.random.Generator, mean: float, sigma: float) -> float:
    """Draw from a log-normal with arithmetic mean ``mean``; ``sigma`` is the sd of the logarithm."""
    return mean * math.exp(sigma * standard_normal(rng) - sigma * sigma / 2)


def poisson(rng: np.random.Generator, mean: float) -> int:
    """Draw from a Poisson distribution with a small ``mean`` (the work grows with it)."""
    quantile = rng.random()
    count, probability = 0, math.exp(-mean)
    while quantile >= probability and probability > 0.0:
        quantile -= probability
        count += 1
        probability *= mean / count
    return count


def binomial(rng: np.random.Generator, n: int, p: float) -> int:
    """Draw the number of successes in ``n`` trials with probability ``p``."""
    return sum(rng.random() < p for _ in range(n))


def subset(rng: np.random.Generator, size: int, population: int) -> set[int]:
    """Draw ``size`` of the numbers 0 to ``population`` - 1, each set equally likely (selection sampling)."""
    chosen: set[int] = set()
    for number in range(population):
        if rng.random() * (population - number) < size - len(chosen):
            chosen.add(number)
    return chosen
