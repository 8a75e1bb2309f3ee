"""The verdict after a burst: its fall neither hides a sustained load nor makes another one look sustained."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from continuum_sim.steady.backlog import Backlog
from continuum_sim.steady.verdict import PARTS, Kind, judge, observe

BURST = 100
PEAK = 20
RATES = np.interp(np.arange(5_000), [0, PEAK, 32, 50, 400], [0, 0.0446, 0.018, 0.0152, 0.0150])
"""Programs per second with n in the system: beyond what fits, the service falls to a third of its peak."""


def verdict_after(arrival_s: np.ndarray, end_s: np.ndarray, work: np.ndarray) -> Kind:
    backlog = Backlog()
    backlog.arrived(arrival_s, work)
    backlog.done(end_s, work[: len(end_s)])
    last_s = float(arrival_s[-1])
    from_s = backlog.low_s(0.0, last_s)
    means = backlog.means(last_s, PARTS, from_s)
    programs = int((arrival_s >= from_s).sum())
    # Little's law.
    jct_s = float(means.mean()) * (last_s - from_s) / programs
    return judge([observe(means, last_s - from_s, programs=programs, jct_s=jct_s)]).kind


def birth_and_death(rate: float, programs: int, seed: int) -> tuple[Kind, str]:
    """Start with a burst in the system; return the verdict and the outcome."""
    rng = np.random.default_rng(seed)
    waits, draws = iter(rng.exponential(size=9 * programs).tolist()), iter(rng.random(9 * programs).tolist())
    there, now = BURST, 0.0
    arrivals, ends, lowest = [0.0] * BURST, [], BURST
    counts = []
    while len(arrivals) < BURST + programs:
        served = RATES[there]
        now += next(waits) / (rate + served)
        if next(draws) * (rate + served) < rate:
            there += 1
            arrivals.append(now)
            counts.append(there)
        else:
            there -= 1
            ends.append(now)
            lowest = min(lowest, there)
    fate = "lost" if lowest > PEAK else "recovered" if max(counts[-programs // 4 :]) < 2 * PEAK else "relapsed"
    return verdict_after(np.array(arrivals), np.array(ends), np.ones(len(arrivals))), fate


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (0.010, "steady"),
        (0.0135, None),
        (0.0145, None),
        (0.016, None),
        (0.020, "grows"),
    ],
)
def test_a_load_that_recovers_does_not_grow_and_one_that_is_lost_is_not_steady(rate: float, said: str | None) -> None:
    found = Counter(birth_and_death(rate, 1_000, seed) for seed in range(20))
    assert found["grows", "recovered"] == 0
    assert found["steady", "lost"] == 0
    if said is not None:
        assert sum(n for (kind, _), n in found.items() if kind == said) >= 18


@pytest.mark.parametrize("cv", [0.5, 2.0])
@pytest.mark.parametrize("load", [0.8, 0.9, 1.1, 1.3])
def test_a_plain_queue_recovers_below_a_load_of_one(load: float, cv: float) -> None:
    kinds = Counter(plain_queue(load, cv, 1_000, seed) for seed in range(20))
    assert kinds["grows" if load < 1 else "steady"] <= 1
    if load == 1.3:
        assert kinds["grows"] >= 15


def plain_queue(load: float, cv: float, programs: int, seed: int) -> Kind:
    """First come, first served, lognormal work of mean 1, with a burst at 0."""
    rng = np.random.default_rng(seed)
    sigma = np.sqrt(np.log1p(cv * cv))
    work = rng.lognormal(-sigma * sigma / 2, sigma, BURST + programs)
    arrivals = np.concatenate((np.zeros(BURST), np.cumsum(rng.exponential(1 / load, programs))))
    ends = np.cumsum(work)
    return verdict_after(arrivals, ends + np.maximum.accumulate(arrivals - (ends - work)), work)
