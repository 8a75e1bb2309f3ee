"""Whether the backlog of an open-loop run grew: steady, grows, or too short to tell.

Trend tests do not work here: the backlog of a busy queue wanders like a random walk, which they call growth in a fifth
to a half of steady runs. Two ratios that do not depend on the backlog's scale separate the cases. With x₁ … x₄₀ the
mean backlog in equal parts of the time from 0 to the last arrival, and s = Σ(xᵢ₊₁ − xᵢ)²:

* z = (x₄₀ − x₁)/√s is how far the backlog moved, in steps of a random walk: large if it grows;
* v = s / Σ(xᵢ − x̄)² is von Neumann's ratio (1941): large if the backlog forgets its past within the run.

The limits are quantiles of reflected Brownian motion without drift, the backlog of a queue at a load of exactly 1:
z exceeds its limit in 2.5 % of paths, v in 5 %. That load is the hardest case for either verdict.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec
import numpy as np

Finite = Annotated[float, msgspec.Meta(ge=-1e30, le=1e30)]
"""Bounds on a number in a file, checked when it is read, so that arithmetic cannot overflow."""
Kind = Literal["steady", "grows", "too_short", "none"]

PARTS: Final = 40
LEAST_PROGRAMS: Final = 200
LEAST_WINDOW_JCTS: Final = 20
"""Least length of a run in mean JCTs: in a shorter one too few programs come and go to say anything."""
_TRANSIENT: Final = 2.0
"""Ratio of serving time to arrival time above which a run of few programs mostly drained a queue."""
_STEADY_LIMIT: Final = (0.23, 0.46)
_GROWTH_LIMIT: Final = (0.88, 1.74)
"""Limits of v and of z over k runs: a + b/√k, fitted to the quantiles of means of 1, 3, 5 and 10 simulated paths."""
_MOST_Z: Final = 3.3
"""The z at which growth is almost certain to be detected."""
_NO_MEMORY: Final = 1e6
"""The v of a backlog that never changes."""
_SLOPE_STEPS: Final = 32
"""Number of increments that the slope averages: those of the last four fifths, since the system fills before."""
_SLOPE_REACH: Final = 2.0395
"""Student's t of 97.5 % with one degree of freedom less: `scipy.stats.t.ppf(0.975, 31)`, which is slow to import."""


@dataclass(frozen=True, slots=True)
class Trend:
    """The two ratios of one run, or their means over several."""

    z: float
    v: float

    @classmethod
    def of(cls, backlog: np.ndarray) -> Trend:
        """Compute the ratios; a backlog that never changes has no memory and does not move."""
        steps = np.diff(backlog)
        squares = float(steps @ steps)
        spread = float(((backlog - backlog.mean()) ** 2).sum())
        if squares == 0 or spread == 0:
            return cls(0.0, _NO_MEMORY)
        return cls(float(backlog[-1] - backlog[0]) / math.sqrt(squares), squares / spread)

    def kind(self, runs: int = 1) -> Kind:
        """Return the verdict for ratios averaged over `runs` independent runs."""
        if self.z > growth_limit(runs):
            return "grows"
        return "steady" if self.v > steady_limit(runs) else "too_short"


class Slope(msgspec.Struct, frozen=True):
    """Growth of the backlog once the system has filled, with a 95 % interval, in the backlog's unit per second."""

    value: Finite
    low: Finite
    high: Finite

    @classmethod
    def of(cls, backlog: np.ndarray, window_s: float) -> Slope:
        """Compute the mean increment after the system has filled, and a t interval over the increments."""
        steps = np.diff(backlog[-_SLOPE_STEPS - 1 :]) * (len(backlog) / window_s)
        half = _SLOPE_REACH * float(steps.std(ddof=1)) / math.sqrt(_SLOPE_STEPS)
        return cls(float(steps.mean()), float(steps.mean()) - half, float(steps.mean()) + half)


@dataclass(frozen=True, slots=True)
class Observed:
    """The quantities of one run that its verdict is based on."""

    trend: Trend
    growth_per_s: Slope
    """Growth of the backlog, in programs' worth of work per second."""
    programs: int
    """Number of arrivals."""
    window_s: float
    """Time of the last arrival."""
    jct_s: float
    """Mean JCT."""
    drain_s: float = 0.0
    """Time from the last arrival to the last end."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Verdict of one run, or several of one load, on whether the load can be sustained."""

    kind: Kind
    runs: int
    programs: int
    """Arrivals in the run that had the fewest."""
    needed_programs: int | None = None
    """Roughly how many programs would be enough to tell, if the runs are too short."""
    growth_per_s: Slope | None = None
    """Only if the backlog grows."""
    collapsed: int | None = None
    """Number of runs that grow, if others are steady."""
    reason: str | None = None
    """Why there is no verdict, or why the runs are too short."""

    @property
    def hazard(self) -> float | None:
        """If steady, an upper bound on the chance of collapse per program (95 %, the rule of three)."""
        return 3 / (self.runs * self.programs) if self.kind == "steady" else None


def observe(backlog: np.ndarray, window_s: float, *, programs: int, jct_s: float, drain_s: float = 0.0) -> Observed:
    """Compute the quantities of one run that its verdict is based on.

    Parameters
    ----------
    backlog
        Mean backlog in `PARTS` equal parts of the window, in programs' worth of work.
    window_s
        Time of the last arrival.
    programs
        Number of arrivals.
    jct_s
        Mean JCT.
    drain_s
        Time from the last arrival to the last end.
    """
    return Observed(Trend.of(backlog), Slope.of(backlog, window_s), programs, window_s, jct_s, drain_s)


def judge(observed: Sequence[Observed]) -> Verdict:
    """Return the verdict on runs of one load under one policy."""
    runs = len(observed)
    programs = min(one.programs for one in observed)
    if programs < LEAST_PROGRAMS:
        reason = f"{programs:,} programs, and a verdict takes {LEAST_PROGRAMS} or more"
        served = min(1 + one.drain_s / one.window_s for one in observed)
        if served > _TRANSIENT:
            reason += f". This is a transient: serving took {served:.1f} times as long as arriving"
        return Verdict("too_short", runs, programs, LEAST_PROGRAMS, reason=reason)
    growth_per_s = _mean([one.growth_per_s for one in observed])
    kinds = [one.trend.kind() for one in observed]
    grows = kinds.count("grows")
    if grows and "steady" in kinds:
        return Verdict("grows", runs, programs, growth_per_s=growth_per_s, collapsed=grows)
    trends = [one.trend for one in observed]
    trend = Trend(float(np.mean([one.z for one in trends])), float(np.mean([one.v for one in trends])))
    kind = trend.kind(runs)
    if kind == "grows":
        return Verdict(kind, runs, programs, growth_per_s=growth_per_s)
    # A window of few mean JCTs is too short for any verdict but growth, which has been ruled out above.
    lived = min(one.window_s / one.jct_s if one.jct_s else math.inf for one in observed)
    if lived < LEAST_WINDOW_JCTS:
        needed = _rounded(programs * LEAST_WINDOW_JCTS / lived)
        reason = f"programs arrived for {lived:.0f} mean JCTs, and a verdict takes {LEAST_WINDOW_JCTS}"
        return Verdict("too_short", runs, programs, needed, reason=reason)
    if kind == "steady":
        return Verdict(kind, runs, programs)
    return Verdict(kind, runs, programs, _needed(trend, programs), reason="the backlog wandered throughout the run")


def steady_limit(runs: int = 1) -> float:
    """Return the v that the mean over `runs` random walks exceeds in 5 % of cases."""
    return _STEADY_LIMIT[0] + _STEADY_LIMIT[1] / math.sqrt(runs)


def growth_limit(runs: int = 1) -> float:
    """Return the z that the mean over `runs` random walks exceeds in 2.5 % of cases."""
    return _GROWTH_LIMIT[0] + _GROWTH_LIMIT[1] / math.sqrt(runs)


def _needed(trend: Trend, programs: int) -> int:
    """Estimate how many programs would be enough to tell.

    v grows with their number, and z of a growing backlog with its square root.
    """
    factor = 1 / trend.v
    if trend.z > 1:
        factor = min(factor, (_MOST_Z / trend.z) ** 2)
    return _rounded(programs * max(1.5, factor))


def _rounded(number: float) -> int:
    """Round up to two digits: the number is an estimate."""
    unit: int = 10 ** max(0, math.floor(math.log10(number)) - 1)
    return math.ceil(number / unit) * unit


def _mean(slopes: Sequence[Slope]) -> Slope:
    """Average independent slopes; the interval shrinks with the square root of their number."""
    value = float(np.mean([slope.value for slope in slopes]))
    half = math.sqrt(sum((slope.high - slope.low) ** 2 for slope in slopes)) / (2 * len(slopes))
    return Slope(value, value - half, value + half)
