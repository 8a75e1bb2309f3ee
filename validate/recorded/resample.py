"""How much the error of a simulation hangs on single requests of a log."""

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
"""Resamples are fewer where there are so many requests that the draws would take more than seconds."""
_FEWEST_RESAMPLES: Final = 999
_BATCH_DRAWS: Final = 1_000_000
"""Drawn at a time: bounds memory to a few times 8 MB."""


def statistics(sample: Array) -> Array:
    """Return the mean and percentiles of `METRICS` of samples along the last axis, statistics first."""
    return np.concatenate([sample.mean(axis=-1)[np.newaxis], np.percentile(sample, _PERCENTILES, axis=-1)])


def ratio_bounds(above: Array, below: Array, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return between what bounds 95 % of the ratios of `statistics` lie if the same requests are drawn anew.

    That is no interval for another log: requests of one log shared its queue, and another has other requests.
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
    """Level to ask of the percentile bootstrap so that its interval is not too narrow for a sample of n.

    Plain percentile intervals use z for Student's t and divisor n for n − 1; for the mean this undoes both: the
    expanded percentile interval of T. Hesterberg, "What Teachers Should Know About the Bootstrap", The American
    Statistician 69 (2015) 371-386.
    """
    from scipy.stats import norm, t

    reach = math.sqrt(n / (n - 1)) * t.ppf((1 + _LEVEL) / 2, n - 1)
    return float(norm.cdf(reach) - norm.cdf(-reach))
