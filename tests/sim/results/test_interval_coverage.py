"""How often intervals cover the truth, on queues whose truth is known: M/G/1 with lognormal work.

A world has 100 distinct programs; each of its runs draws 100 from them, and its own arrivals. Two policies serve the
same customers, one a tenth faster.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from continuum_sim.results.estimate import interval

DISTINCT, CUSTOMERS, WARMUP = 100, 2_000, 200
SPEED = 1.1
WORLDS_AT_ONCE = 50


def mean_time(load: float, cv: float, speed: float = 1.0) -> float:
    """Return the mean time in the system at a mean work of 1, by Pollaczek and Khinchine."""
    busy = load / speed
    return (1 + busy / (1 - busy) * (1 + cv**2) / 2) / speed


def served(work: np.ndarray, gaps: np.ndarray) -> np.ndarray:
    """Return the mean time in the system of the customers who count, for each row, by Lindley's recursion."""
    path = np.cumsum(work[:, :-1] - gaps[:, 1:], axis=1)
    wait = path - np.minimum(np.minimum.accumulate(path, axis=1), 0)
    times: np.ndarray = (wait + work[:, 1:])[:, WARMUP - 1 :].mean(axis=1)
    return times


def runs_of(worlds: int, runs: int, cv: float, load: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean time in each run of each world under both policies."""
    sigma = math.sqrt(math.log(1 + cv**2))
    programs = rng.lognormal(-(sigma**2) / 2, sigma, (worlds, 1, DISTINCT))
    drawn = np.take_along_axis(programs, rng.integers(DISTINCT, size=(worlds, runs, DISTINCT)), axis=2)
    passes = np.repeat(drawn.reshape(worlds * runs, 1, DISTINCT), CUSTOMERS // DISTINCT, axis=1)
    work = rng.permuted(passes, axis=2).reshape(worlds * runs, CUSTOMERS)
    gaps = rng.exponential(1 / load, work.shape)
    plain, fast = (served(work / speed, gaps).reshape(worlds, runs) for speed in (1.0, SPEED))
    return plain, fast


def covered(worlds: int, runs: int, cv: float, load: float, *, drawn: bool = True) -> tuple[float, float]:
    """Return the shares of worlds whose interval covers the mean, and the ratio of the policies."""
    rng = np.random.default_rng([worlds, runs, round(100 * cv), round(100 * load)])
    hits = np.zeros(2)
    for start in range(0, worlds, WORLDS_AT_ONCE):
        plain, fast = runs_of(min(WORLDS_AT_ONCE, worlds - start), runs, cv, load, rng)
        truth = mean_time(load, cv), mean_time(load, cv, SPEED) / mean_time(load, cv)
        for at, (value, each) in enumerate(
            ((plain.mean(axis=1), plain), (fast.mean(axis=1) / plain.mean(axis=1), fast / plain))
        ):
            low, high = interval(value, each, drawn=drawn)
            hits[at] += ((low <= truth[at]) & (truth[at] <= high)).sum()
    return float(hits[0] / worlds), float(hits[1] / worlds)


def least(share: float, worlds: int) -> float:
    """Return the bound that a share of worlds exceeds in all but 1 of 200 tries if it is as expected."""
    return share - 2.6 * math.sqrt(share * (1 - share) / worlds)


@pytest.mark.parametrize("load", [0.6, 0.9])
def test_intervals_over_draws_hold_for_other_programs(load: float) -> None:
    assert min(covered(100, 20, 0.5, load)) > least(0.92, 100)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("load", "runs", "share"),
    [(0.6, 20, 0.94), (0.6, 10, 0.94), (0.6, 5, 0.94), (0.9, 20, 0.92), (0.9, 10, 0.91), (0.9, 5, 0.90)],
)
def test_intervals_over_draws_hold_in_many_worlds(load: float, runs: int, share: float) -> None:
    assert min(covered(1_000, runs, 0.5, load)) > least(share, 1_000)


def test_intervals_of_a_replay_say_nothing_of_other_programs() -> None:
    assert max(covered(100, 20, 0.5, 0.9, drawn=False)) < 0.7


def test_a_heavy_tail_is_beyond_100_programs() -> None:
    assert min(covered(100, 20, 2.0, 0.9)) < 0.85
