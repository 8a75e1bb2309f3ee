"""Tool times as a log-normal, a mixture of two log-normals, or the sample's own quantiles, and how well each fits.

Tool times are skewed, like products of many factors, and often of two kinds: a command that hits or misses its cache,
a search or a page. A log-normal is skewed; a mixture of two also has two kinds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Annotated, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from continuum_sim.traces.fit.quantiles import LEVELS, Quantiles

Family = Literal["empirical", "lognormal", "mixture"]
_Array = NDArray[np.float64]

LEAST_CALLS: Final = 20
"""A tool with fewer calls says too little about the shape of its times; such tools are pooled."""
# Anything narrower than 1 % is equal values, whose density is unbounded, so that the likelihood would chase them.
_LEAST_SIGMA: Final = 0.01
_NOTHING_S: Final = 1e-9
# The most that rounding to six figures changes a quantile by, relative to it.
_HALF_FIGURE: Final = 5e-6
_STARTS: Final = (0.1, 0.25, 0.5, 0.75, 0.9)
_ROUNDS: Final = 500
_KS_5_PERCENT: Final = 1.358
"""D·√n that a sample of the distribution itself exceeds in 5 % of cases (Kolmogorov's distribution)."""

# A difference in AIC that leaves the worse model essentially no support (Burnham and Anderson, Model Selection and
# Multimodel Inference, 2002, section 2.6): three more parameters must be worth it, or the mixture would follow noise.
_CLEARLY: Final = 10.0
# Far beyond any fit, but exp of any draw still fits a float.
_Mu = Annotated[float, msgspec.Meta(ge=-100, le=100)]
_Sigma = Annotated[float, msgspec.Meta(gt=0, le=50)]
_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class LogNormal(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The logarithm of the seconds is normal, with mean `mu` and sd `sigma`; `ks` and `aic` as in `GapFit`."""

    mu: _Mu
    sigma: _Sigma
    ks: float
    aic: float


class LogNormalMixture(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Log-normal with `mu`, `sigma` with probability `weight`, otherwise with the slower `slow_mu`, `slow_sigma`."""

    weight: _Share
    mu: _Mu
    sigma: _Sigma
    slow_mu: _Mu
    slow_sigma: _Sigma
    ks: float
    aic: float


class GapFit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Fit of one tool's times.

    Attributes
    ----------
    calls
        Number of calls in the sample.
    mean_s
        The sample's mean, in seconds.
    zero_share
        Share of calls that take no time (less than 1 ns); the log-normals describe the others.
    empirical
        Quantiles of all calls.
    empirical_ks
        Largest distance between these quantiles' distribution function and the sample's.
    lognormal, mixture
        Fitted by maximum likelihood; ``None`` if the calls are too few or all alike. Their `ks` is the same
        distance (Kolmogorov-Smirnov's D), their `aic` Akaike's criterion, 2 k - 2 ln L with k parameters: of two fits
        to one sample, the one with the smaller AIC is better for its number of parameters.
    used
        The distribution that programs are generated from. Among the log-normals that the sample does not contradict
        (D below the 5 % point of Kolmogorov's distribution), it is the mixture if its AIC is smaller by 10, otherwise
        the single one; if the sample contradicts both, it is the quantiles. Because the parameters come from the same
        sample, true log-normals pass in more than 95 % of cases.
    """

    calls: int
    mean_s: float
    zero_share: _Share
    empirical: Quantiles
    empirical_ks: float
    lognormal: LogNormal | None
    mixture: LogNormalMixture | None
    used: Family

    def __post_init__(self) -> None:
        if self.used != "empirical" and getattr(self, self.used) is None:
            raise ValueError(f"used is {self.used!r}, which is null, expected a fitted one")


def fit_gaps(calls_s: Sequence[float] | _Array) -> GapFit:
    """Fit the times of a tool, in seconds from 0; there must be at least one."""
    sample = np.asarray(calls_s, dtype=float)
    positive = sample[sample > _NOTHING_S]
    quantiles = Quantiles.of(sample)
    lognormal = mixture = None
    if len(positive) >= LEAST_CALLS and np.ptp(np.log(positive)) > _LEAST_SIGMA:
        lognormal = _lognormal(positive)
        mixture = _mixture(positive)
    fitting: list[tuple[float, Family]] = []
    bound = _KS_5_PERCENT / math.sqrt(max(len(positive), 1))
    if lognormal is not None and lognormal.ks < bound:
        fitting.append((lognormal.aic, "lognormal"))
    if mixture is not None and mixture.ks < bound:
        fitting.append((mixture.aic + _CLEARLY, "mixture"))
    return GapFit(
        calls=len(sample),
        mean_s=_rounded(float(sample.mean())),
        zero_share=_rounded(1 - len(positive) / len(sample)),
        empirical=quantiles,
        empirical_ks=_rounded(_distance_of_quantiles(sample, quantiles)),
        lognormal=lognormal,
        mixture=mixture,
        used=min(fitting)[1] if fitting else "empirical",
    )


def _lognormal(sample_s: _Array) -> LogNormal:
    from scipy.special import ndtr

    logs = np.log(sample_s)
    mu, sigma = float(logs.mean()), max(float(logs.std()), _LEAST_SIGMA)
    log_likelihood = float(_log_density(logs, mu, sigma).sum() - logs.sum())
    ks = _distance(sample_s, lambda x: np.asarray(ndtr((np.log(x) - mu) / sigma)))
    return LogNormal(_rounded(mu), _rounded(sigma), _rounded(ks), _rounded(2 * 2 - 2 * log_likelihood))


def _mixture(sample_s: _Array) -> LogNormalMixture:
    """Fit by expectation-maximisation (Dempster, Laird and Rubin, 1977), from several splits of the sample."""
    from scipy.special import ndtr

    logs = np.log(np.sort(sample_s))
    weight, mu, sigma, log_likelihood = max((_climb(logs, start) for start in _STARTS), key=lambda found: found[3])
    if mu[0] > mu[1]:
        weight, mu, sigma = weight[::-1], mu[::-1], sigma[::-1]
    ks = _distance(sample_s, lambda x: np.asarray(ndtr((np.log(x)[:, None] - mu) / sigma)) @ weight)
    figures = (weight[0], mu[0], sigma[0], mu[1], sigma[1], ks, 2 * 5 - 2 * (log_likelihood - logs.sum()))
    return LogNormalMixture(*(_rounded(float(figure)) for figure in figures))


def _climb(logs: _Array, start: float) -> tuple[_Array, _Array, _Array, float]:
    """Climb to a maximum of the likelihood, starting from the sorted sample cut in two at the quantile `start`."""
    cut = min(max(round(start * len(logs)), 1), len(logs) - 1)
    parts = (logs[:cut], logs[cut:])
    weight = np.array([start, 1 - start])
    mu = np.array([part.mean() for part in parts])
    sigma = np.maximum([part.std() for part in parts], _LEAST_SIGMA)
    before = -math.inf
    for _ in range(_ROUNDS):
        joint = np.log(weight) + _log_density(logs[:, None], mu, sigma)
        each = np.logaddexp(joint[:, 0], joint[:, 1])
        likelihood = float(each.sum())
        if likelihood - before < 1e-9 * abs(likelihood):
            break
        before = likelihood
        belongs = np.exp(joint - each[:, None])
        total = np.maximum(belongs.sum(axis=0), 1e-9)
        weight = total / total.sum()
        mu = (belongs * logs[:, None]).sum(axis=0) / total
        variance = (belongs * (logs[:, None] - mu) ** 2).sum(axis=0) / total
        sigma = np.maximum(np.sqrt(variance), _LEAST_SIGMA)
    return weight, mu, sigma, before


def _log_density(logs: _Array, mu: float | _Array, sigma: float | _Array) -> _Array:
    """Return the logarithm of the normal density."""
    return np.asarray(-0.5 * ((logs - mu) / sigma) ** 2 - np.log(sigma) - 0.5 * math.log(2 * math.pi))


def _distance(sample: _Array, distribution: Callable[[_Array], _Array]) -> float:
    """Kolmogorov-Smirnov's D of a sample and a distribution function."""
    ordered = np.sort(sample)
    levels = distribution(ordered)
    steps = np.arange(len(ordered) + 1) / len(ordered)
    return float(max((steps[1:] - levels).max(), (levels - steps[:-1]).max()))


def _distance_of_quantiles(sample: _Array, quantiles: Quantiles) -> float:
    """The same of a quantile function, which may have jumps, as the sample has: compared at the sample's own values."""
    values = np.unique(sample)
    shares = np.searchsorted(np.sort(sample), values, side="right") / len(sample)
    # Of equal quantiles the last level counts: a distribution function is continuous from the right.
    distinct = np.append(np.diff(quantiles.values) > 0, True)
    levels = np.interp(
        values * (1 + _HALF_FIGURE), np.asarray(quantiles.values)[distinct], np.asarray(LEVELS)[distinct]
    )
    return float(np.abs(shares - levels).max())


def _rounded(value: float) -> float:
    """Six figures: more would be noise, and would make fits differ by machine."""
    return float(f"{value:.6g}")
