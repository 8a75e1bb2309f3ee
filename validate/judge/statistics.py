"""Statistics of a validation: intervals over repeats, agreement of rankings, noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
CONFIDENCE = 0.95

Array = NDArray[np.float64]


class Interval(msgspec.Struct, frozen=True):
    """A value with its bootstrap interval; with a single repeat both ends are the value itself."""

    value: float
    low: float
    high: float


def interval_over_repeats(repeats: Sequence[Array], statistic: Callable[[Array], float], seed: int = 0) -> Interval:
    """Return the mean over repeats of a statistic, with the percentile bootstrap interval over repeats.

    Whole repeats are resampled: their programs ran together and are not independent of each other.
    """
    values = np.array([statistic(sample) for sample in repeats])
    if len(values) == 1:
        return Interval(float(values[0]), float(values[0]), float(values[0]))
    rng = np.random.default_rng(seed)
    means = values[rng.integers(0, len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(means, (tail, 1 - tail))
    return Interval(float(values.mean()), float(low), float(high))


def spread(values: Sequence[float]) -> float:
    """Return largest less smallest, as a share of the mean: how much repeats differ. 0 for a single value."""
    sample = np.asarray(values, dtype=float)
    return float((sample.max() - sample.min()) / sample.mean()) if sample.mean() else 0.0


def kendall_tau(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Return Kendall's τ-b of two rankings; None if it is undefined (fewer than two values, or all equal)."""
    from scipy.stats import kendalltau

    if len(one) < 2:
        return None
    tau: Any = kendalltau(one, other).statistic
    return None if np.isnan(tau) else float(tau)


def share_equal(pairs: Sequence[tuple[Mapping[Any, object], Mapping[Any, object]]]) -> float | None:
    """Return the share of equal values over pairs of tables with the same keys; None if there are no pairs."""
    equal = [one[key] == other[key] for one, other in pairs for key in one.keys() & other.keys()]
    return float(np.mean(equal)) if equal else None


def among_themselves(tables: Sequence[Mapping[Any, object]]) -> float | None:
    """Return the share of equal values between any two of the tables: how far repeats agree with each other."""
    return share_equal(list(combinations(tables, 2)))


def quantile(share: float) -> Callable[[Array], float]:
    """Return the statistic that interpolates this quantile linearly (NumPy's default)."""
    return lambda sample: float(np.quantile(sample, share))


def mean(sample: Array) -> float:
    """Return the arithmetic mean."""
    return float(np.mean(sample))


STATISTICS: Mapping[str, Callable[[Array], float]] = {
    "mean": mean,
    "p50": quantile(0.5),
    "p90": quantile(0.9),
    "p95": quantile(0.95),
}
"""Statistics that are compared for samples of job completion times."""
