"""Estimate how much the error of a simulation depends on single requests of a log."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from continuum_sim.results.estimate import METRICS

Array = NDArray[np.float64]

_PERCENTILES: Final = tuple(int(metric[1:]) for metric in METRICS if metric != "mean")
_LEVEL: Final = 0.95
_RESAMPLES: Final = 9_999
_MOST_DRAWS: Final = 20_000_000
"""Most random draws: with very many requests there are fewer resamples, so that this takes seconds at most."""
_FEWEST_RESAMPLES: Final = 999
_BATCH_DRAWS: Final = 1_000_000
"""Draws at a time: bounds memory to a few times 8 MB."""


def statistics(sample: Array) -> Array:
    """Return mean and percentiles of `METRICS` for samples along the last axis; statistics come first."""
    return np.concatenate([sample.mean(axis=-1)[np.newaxis], np.percentile(sample, _PERCENTILES, axis=-1)])


def ratio_bounds(above: Array, below: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return bounds of 95 % of the ratios of `statistics` when the same requests are resampled.

    This is not an interval for another log: the requests of one log shared its queue, and another has other requests.
    """
    from scipy.stats import bootstrap  # scipy.stats takes longer to import than most runs take

    number = len(above)
    if number < 2:
        none = np.full(len(METRICS), math.nan)
        return none, none

    def ratios(places: np.ndarray, axis: int = -1) -> Array:
        drawn = places.astype(np.intp)
        found: Array = statistics(above[drawn]) / statistics(below[drawn])
        return found

    result: Any = bootstrap(
        (np.arange(number),),
        ratios,
        vectorized=True,
        method="percentile",
        n_resamples=max(_FEWEST_RESAMPLES, min(_RESAMPLES, _MOST_DRAWS // number)),
        batch=max(1, _BATCH_DRAWS // number),
        confidence_level=_expanded(number),
        rng=rng,
    )
    return result.confidence_interval.low, result.confidence_interval.high


def _expanded(n: int) -> float:
    """Return the level that makes the percentile bootstrap interval wide enough for a sample of n.

    Plain percentile intervals use z instead of Student's t and divisor n instead of n − 1; for the mean this corrects
    both: the expanded percentile interval of T. Hesterberg, "What Teachers Should Know About the Bootstrap", The
    American Statistician 69 (2015) 371-386.
    """
    from scipy.stats import norm, t

    reach = math.sqrt(n / (n - 1)) * t.ppf((1 + _LEVEL) / 2, n - 1)
    return float(norm.cdf(reach) - norm.cdf(-reach))
