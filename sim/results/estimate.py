"""Statistics over several runs with their intervals: the one estimator behind every table and picture.

A statistic is taken over the programs of all runs together. Its interval comes from how it differs between runs, since
programs of one run share their queue: a Student t interval on the logarithms. If every run drew its own programs, the
interval covers other programs of the same kind and other arrivals; if all runs replay the same programs, it covers
these programs under other arrivals.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from continuum_sim.errors import ConfigError, shown

METRICS: Final = ("mean", "p50", "p90", "p95", "p99")
LEVEL: Final = 0.95
LEAST_RUNS: Final = 5
"""With fewer runs there is no verdict."""
ENOUGH_RUNS: Final = 10
"""With fewer runs an interval about other programs is only a first look."""
MIN_EFFECT: Final = 0.01
"""Smallest difference of a ratio from 1 that is called faster or slower."""
_ROUNDING: Final = 1e-9
"""Relative difference that two sums of the same step times may have."""

Effect = Literal["faster", "slower", "equal", "within noise", "too few seeds"]
Array = NDArray[np.float64]
Numbers = Sequence[float] | NDArray[Any]


class Estimate(NamedTuple):
    """A value over several runs with its 95 % interval. The bounds are NaN for a single run."""

    value: float
    low: float
    high: float
    seeds: int


def measure(metric: str, sample: Numbers) -> Any:
    """Return the mean or a percentile of samples along the last axis."""
    if metric == "mean":
        return np.mean(sample, axis=-1)
    return np.percentile(sample, int(metric[1:]), axis=-1)


def interval(value: float | Array, each: Numbers, *, drawn: bool, logs: bool = True) -> tuple[Any, Any]:
    """Return the bounds of the 95 % interval around a value over all runs together.

    Parameters
    ----------
    value
        The statistic over all runs; one number, or an array.
    each
        The same statistic in each run, with the runs along one extra axis at the end.
    drawn
        Whether each run drew its own programs. The spread between draws from the trace then estimates how the trace
        differs from other programs, which does not shrink with the number B of runs: the half width is t·s·√(1 + 1/B)
        (two-level resampling: Davison and Hinkley, Bootstrap Methods, 1997, chapter 3). Otherwise it is t·s/√B, that
        of a mean.
    logs
        Whether to work on logarithms, for values above 0.
    """
    centre, values = np.asarray(value, dtype=float), np.asarray(each, dtype=float)
    runs = values.shape[-1]
    if runs < 2:
        none = np.full_like(centre, math.nan)
        return none, none
    from scipy.special import stdtrit  # Student's t quantile, without importing scipy.stats

    spread = (np.log(values) if logs else values).std(axis=-1, ddof=1)
    reach = stdtrit(runs - 1, (1 + LEVEL) / 2) * spread * math.sqrt(1 / runs + drawn)
    if logs:
        return centre * np.exp(-reach), centre * np.exp(reach)
    return centre - reach, centre + reach


def pooled(metric: str, samples: Sequence[Array], *, drawn: bool) -> Estimate:
    """Estimate a statistic over programs, given one sample per run."""
    value = measure(metric, np.concatenate(samples))
    return _estimate(value, [measure(metric, sample) for sample in samples], drawn=drawn)


def pooled_ratio(metric: str, above: Sequence[Array], below: Sequence[Array], *, drawn: bool) -> Estimate:
    """Estimate the ratio of a statistic under two policies, whose runs have the same seeds in the same order."""
    value = _divided(measure(metric, np.concatenate(above)), measure(metric, np.concatenate(below)))
    each = [_divided(measure(metric, a), measure(metric, b)) for a, b in zip(above, below, strict=True)]
    return _estimate(value, each, drawn=drawn)


def pooled_difference(metric: str, ours: Sequence[Array], base: Sequence[Array], *, drawn: bool) -> Estimate:
    """Estimate the difference of a statistic under two policies, as `pooled_ratio` but without logarithms."""
    value = measure(metric, np.concatenate(ours)) - measure(metric, np.concatenate(base))
    each = [measure(metric, a) - measure(metric, b) for a, b in zip(ours, base, strict=True)]
    return _estimate(value, each, drawn=drawn, logs=False)


def averaged(each: Numbers, *, drawn: bool, weights: Numbers | None = None, logs: bool = True) -> Estimate:
    """Estimate a quantity with one value per run: the mean of the values, weighted if `weights` are given."""
    values = np.asarray(each, dtype=float)
    return _estimate(np.average(values, weights=weights), values, drawn=drawn, logs=logs)


def averaged_ratio(
    above: Numbers, below: Numbers, *, drawn: bool, weights: tuple[Numbers, Numbers] | None = None
) -> Estimate:
    """Estimate the ratio of two such means, paired run by run."""
    ours, base = np.asarray(above, dtype=float), np.asarray(below, dtype=float)
    of_ours, of_base = weights or (None, None)
    value = _divided(np.average(ours, weights=of_ours), np.average(base, weights=of_base))
    return _estimate(value, [_divided(a, b) for a, b in zip(ours, base, strict=True)], drawn=drawn)


def effect(ratio: Estimate, min_effect: float) -> Effect:
    """Return the verdict on a ratio with its interval; one within `min_effect` of 1 is never faster or slower."""
    if ratio.seeds < LEAST_RUNS:
        return "too few seeds"
    least = max(min_effect, _ROUNDING)
    if abs(ratio.value - 1) >= least and not ratio.low <= 1 <= ratio.high:
        return "faster" if ratio.value < 1 else "slower"
    return "equal" if 1 - least <= ratio.low and ratio.high <= 1 + least else "within noise"


def read_min_effect(asked: str | float) -> float:
    """Read a smallest effect: a share, or a percentage as in ``1%``.

    Raises
    ------
    ConfigError
        If it is neither, or not below 1.
    """
    text = str(asked).strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if isinstance(asked, bool) or not 0 <= share < 1:
        raise ConfigError(f"min_effect is {shown(asked)}, expected a share below 1, as in 1% or 0.01")
    return share


def _estimate(value: Any, each: Numbers, *, drawn: bool, logs: bool = True) -> Estimate:
    values = np.asarray(each, dtype=float)
    positive = bool(value > 0 and (values > 0).all())
    low, high = interval(value, values, drawn=drawn, logs=logs and positive)
    return Estimate(float(value), float(low), float(high), len(values))


def _divided(above: Any, below: Any) -> float:
    return float(above / below) if below else math.nan
