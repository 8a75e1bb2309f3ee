"""Paired differences between two policies on the same programs, with bootstrap confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import numpy as np

_PERCENTILES: Final = (50, 90, 95, 99)
METRICS: Final = ("mean", *(f"p{percent}" for percent in _PERCENTILES))

_RESAMPLES: Final = 9_999
_MOST_DRAWS: Final = 20_000_000
"""Resamples are fewer where there are so many programs that the draws would take more than seconds."""
_FEWEST_RESAMPLES: Final = 999
_BATCH_DRAWS: Final = 1_000_000
"""Drawn at a time: bounds memory to a few times 8 MB."""
_ROUNDING: Final = 1e-9
"""Relative difference that two sums of the same step times may have."""
SEEDS_TO_RESAMPLE: Final = 5
"""From so many seeds on, whole seeds are resampled instead of programs."""


class PairedDifference(msgspec.Struct, frozen=True):
    """How a policy's JCT differs from the baseline's on the same programs and seeds.

    The interval bounds are NaN where one pair is all there is.
    """

    policy: str
    baseline: str
    metric: str
    """`mean`, or a percentile of the JCT over all pairs."""
    difference_s: float
    """Policy minus baseline; negative is faster."""
    difference_low_s: float
    difference_high_s: float
    ratio: float
    """Policy over baseline; below 1 is faster."""
    ratio_low: float
    ratio_high: float
    pairs: int
    """Programs times seeds."""
    resampled: str
    """`programs` or `seeds`: what the bootstrap drew anew."""

    @property
    def beyond_noise(self) -> bool:
        """Whether the interval of the difference leaves out 0, and not by rounding alone."""
        leaves_out_0 = self.difference_low_s > 0 or self.difference_high_s < 0
        return leaves_out_0 and abs(self.ratio - 1) > _ROUNDING


def paired_differences(
    policy: str,
    baseline: str,
    jct_s: Mapping[int, np.ndarray],
    baseline_jct_s: Mapping[int, np.ndarray],
    *,
    rng: np.random.Generator,
    confidence_level: float = 0.95,
) -> list[PairedDifference]:
    """Compare two policies on the same seeds and programs, one entry for each of `METRICS`.

    Bootstrap over pairs (`scipy.stats.bootstrap`), percentile intervals expanded for small samples. From 5 seeds on,
    whole seeds are resampled: the interval is about another draw of arrivals. With fewer, programs are resampled:
    it says how much hangs on single programs of these runs, but programs of one run share their queue and are not
    independent, so it is too narrow for other arrivals.

    Parameters
    ----------
    jct_s, baseline_jct_s
        Seed -> JCT of every program, in the same order in both; as many programs under every seed.
    """
    ours = np.stack([jct_s[seed] for seed in jct_s])
    base = np.stack([baseline_jct_s[seed] for seed in jct_s])
    by_seed = len(ours) >= SEEDS_TO_RESAMPLE
    shape = ours.shape if by_seed else (ours.size, 1)
    ours, base = ours.reshape(shape), base.reshape(shape)

    def statistic(units: np.ndarray, axis: int = -1) -> np.ndarray:
        # (..., n) indices of programs or seeds -> (difference and ratio, metric, ...) over all their pairs
        drawn = units.astype(np.intp)
        flat = (*drawn.shape[:-1], -1)
        a, b = _measure(ours[drawn].reshape(flat)), _measure(base[drawn].reshape(flat))
        return np.stack([a - b, a / b])

    units = np.arange(len(ours))
    value = statistic(units)
    low = high = np.full_like(value, np.nan)
    if len(units) > 1:
        low, high = _interval(units, ours.size, statistic, rng, confidence_level)
    return [
        PairedDifference(
            policy=policy,
            baseline=baseline,
            metric=metric,
            difference_s=float(value[0, at]),
            difference_low_s=float(low[0, at]),
            difference_high_s=float(high[0, at]),
            ratio=float(value[1, at]),
            ratio_low=float(low[1, at]),
            ratio_high=float(high[1, at]),
            pairs=ours.size,
            resampled="seeds" if by_seed else "programs",
        )
        for at, metric in enumerate(METRICS)
    ]


def _measure(sample: np.ndarray) -> np.ndarray:
    """All metrics of samples along the last axis, metrics first."""
    return np.concatenate([sample.mean(axis=-1)[np.newaxis], np.percentile(sample, _PERCENTILES, axis=-1)])


def _interval(
    units: np.ndarray,
    pairs: int,
    statistic: Callable[..., np.ndarray],
    rng: np.random.Generator,
    confidence_level: float,
) -> tuple[np.ndarray, np.ndarray]:
    from scipy.stats import bootstrap  # scipy.stats takes longer to import than most runs take

    result: Any = bootstrap(
        (units,),
        statistic,
        vectorized=True,
        method="percentile",
        n_resamples=max(_FEWEST_RESAMPLES, min(_RESAMPLES, _MOST_DRAWS // pairs)),
        batch=max(1, _BATCH_DRAWS // pairs),
        confidence_level=_expanded(confidence_level, len(units)),
        rng=rng,
    )
    return result.confidence_interval.low, result.confidence_interval.high


def _expanded(confidence_level: float, n: int) -> float:
    """Level to ask of the percentile bootstrap so that its interval is not too narrow for a sample of n.

    Plain percentile intervals use z for Student's t and divisor n for n − 1; for the mean this undoes both: the
    expanded percentile interval of T. Hesterberg, "What Teachers Should Know About the Bootstrap", The American
    Statistician 69 (2015) 371-386.
    """
    from scipy.stats import norm, t

    reach = math.sqrt(n / (n - 1)) * t.ppf((1 + confidence_level) / 2, n - 1)
    return float(norm.cdf(reach) - norm.cdf(-reach))
