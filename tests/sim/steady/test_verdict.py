"""The verdict on queues whose truth is known, and on random walks, which are on the boundary between two verdicts."""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest

from continuum_sim.steady.backlog import Backlog
from continuum_sim.steady.verdict import (
    PARTS,
    Observed,
    Slope,
    Trend,
    Verdict,
    growth_limit,
    judge,
    observe,
    steady_limit,
)


class Served(NamedTuple):
    """What a queue did, in seconds."""

    ends: np.ndarray
    """When each program ended."""
    times: np.ndarray
    work: np.ndarray
    """Work done, and when."""


Queue = Callable[[np.ndarray, np.ndarray], Served]
"""Function from arrivals and work to what was served."""


def first_come_first_served(arrivals: np.ndarray, work: np.ndarray) -> Served:
    ends = np.cumsum(work)
    ends = ends + np.maximum.accumulate(arrivals - (ends - work))
    return Served(ends, ends, work)


def processor_sharing(arrivals: np.ndarray, work: np.ndarray) -> Served:
    """Serve by attained service: all present have the same, and each leaves when it reaches its own work.

    Work counts when it is done, not when its program ends; the product counts it turn by turn.
    """
    ends = np.empty(len(work))
    there: list[tuple[float, int]] = []
    now = served = 0.0
    times, done = [], []

    def until(time: float) -> None:
        nonlocal now, served
        while there:
            leave = now + (there[0][0] - served) * len(there)
            times.append((now + min(leave, time)) / 2)
            done.append(min(leave, time) - now)
            if leave > time:
                served += (time - now) / len(there)
                break
            now, (served, number) = leave, heapq.heappop(there)
            ends[number] = leave
        now = time

    for number, (arrival, needs) in enumerate(zip(arrivals.tolist(), work.tolist(), strict=True)):
        until(arrival)
        heapq.heappush(there, (served + needs, number))
    until(math.inf)
    return Served(ends, np.array(times), np.array(done))


def work_of(rng: np.random.Generator, programs: int, cv: float) -> np.ndarray:
    """Lognormal, of mean 1."""
    sigma = math.sqrt(math.log1p(cv * cv))
    return rng.lognormal(-sigma * sigma / 2, sigma, programs)


def observed_in(queue: Queue, load: float, cv: float, programs: int, seed: int) -> Observed:
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / load, programs))
    work = work_of(rng, programs, cv)
    served = queue(arrivals, work)
    backlog = Backlog()
    backlog.arrived(arrivals, work)
    backlog.done(served.times, served.work)
    jct_s = float((served.ends - arrivals).mean())
    return observe(backlog.means(arrivals[-1], PARTS), float(arrivals[-1]), programs=programs, jct_s=jct_s)


def verdict_on(queue: Queue, load: float, cv: float, programs: int, *seeds: int) -> Verdict:
    return judge([observed_in(queue, load, cv, programs, seed) for seed in seeds])


@cache
def random_walks(paths: int) -> list[Trend]:
    """Reflected Brownian motion without drift: the backlog at a load of exactly 1."""
    rng = np.random.default_rng(1)
    trends = []
    for _ in range(paths):
        path = np.cumsum(rng.standard_normal(PARTS * 100))
        path -= np.minimum(np.minimum.accumulate(path), 0)
        trends.append(Trend.of(path.reshape(PARTS, -1).mean(axis=1)))
    return trends


def test_a_random_walk_is_called_too_short() -> None:
    kinds = Counter(trend.kind() for trend in random_walks(2_000))
    assert kinds["grows"] <= 0.035 * 2_000
    assert kinds["steady"] <= 0.065 * 2_000
    assert kinds["grows"] + kinds["steady"] > 0  # or nothing would ever be called so


@pytest.mark.parametrize("runs", [3, 5, 10])
def test_the_limits_of_several_runs_are_those_of_their_means(runs: int) -> None:
    trends = random_walks(2_000)[: 2_000 // runs * runs]
    z = np.array([trend.z for trend in trends]).reshape(-1, runs).mean(axis=1)
    v = np.array([trend.v for trend in trends]).reshape(-1, runs).mean(axis=1)
    assert (z > growth_limit(runs)).mean() <= 0.04
    assert (v > steady_limit(runs)).mean() <= 0.08


CELLS = [
    (queue, load, cv)
    for queue in (first_come_first_served, processor_sharing)
    for cv in (0.5, 2.0)
    for load in (0.8, 0.9, 1.1, 1.2, 1.3)
]


@pytest.mark.parametrize(("queue", "load", "cv"), CELLS)
def test_queues_are_told_apart(queue: Queue, load: float, cv: float) -> None:
    kinds = Counter(verdict_on(queue, load, cv, 1_000, seed).kind for seed in range(25))
    wrong = "grows" if load < 1 else "steady"
    assert kinds[wrong] <= 1  # 4 %
    right = "steady" if load < 1 else "grows"
    if load in (0.8, 1.3) and cv < 1:
        assert kinds[right] >= 15


@pytest.mark.slow
@pytest.mark.repeats
@pytest.mark.parametrize(("queue", "load", "cv"), CELLS)
def test_queues_are_told_apart_under_many_seeds(queue: Queue, load: float, cv: float) -> None:
    observed = [observed_in(queue, load, cv, 2_000, seed) for seed in range(200)]
    kinds = Counter(judge([one]).kind for one in observed)
    assert kinds["grows" if load < 1 else "steady"] <= 8  # 4 %
    if load == 1.3:
        assert np.mean([one.growth_per_s.value for one in observed]) == pytest.approx(0.3, rel=0.03)


@pytest.mark.parametrize("queue", [first_come_first_served, processor_sharing])
def test_five_runs_say_what_one_cannot(queue: Queue) -> None:
    steady = verdict_on(queue, 0.9, 0.5, 2_000, *range(5))
    assert (steady.kind, steady.hazard) == ("steady", 3 / 10_000)
    assert verdict_on(queue, 1.1, 0.5, 2_000, *range(5)).kind == "grows"


@pytest.mark.parametrize("queue", [first_come_first_served, processor_sharing])
def test_growth_is_what_arrives_less_what_is_served(queue: Queue) -> None:
    slopes = [observed_in(queue, 1.3, 0.5, 5_000, seed).growth_per_s for seed in range(10)]
    assert np.mean([slope.value for slope in slopes]) == pytest.approx(0.3, rel=0.03)
    assert sum(slope.low <= 0.3 <= slope.high for slope in slopes) >= 8


def test_runs_that_disagree_are_counted() -> None:
    grown = np.arange(40.0) ** 1.5
    calm = np.random.default_rng(0).standard_normal(40)
    assert Trend.of(calm).kind() == "steady"
    verdict = judge([observe(backlog, 1e5, programs=1_000, jct_s=100) for backlog in (calm, grown, calm)])
    assert (verdict.kind, verdict.collapsed, verdict.runs) == ("grows", 1, 3)


@pytest.mark.parametrize(
    ("programs", "jct_s", "reason"),
    [(100, 1.0, "100 programs"), (1_000, 99.0, "10 mean JCTs")],
)
def test_a_short_run_says_how_long_a_longer_one_is(programs: int, jct_s: float, reason: str) -> None:
    calm = np.random.default_rng(0).standard_normal(40)
    verdict = judge([observe(calm, 1_000.0, programs=programs, jct_s=jct_s)])
    assert verdict.kind == "too_short"
    assert reason in (verdict.reason or "")
    assert (verdict.needed_programs or 0) >= 200


def test_growth_is_seen_however_long_the_programs_stay() -> None:
    """If the queue explodes, JCTs are as long as the run."""
    verdict = judge([observe(np.arange(40.0), 1_000.0, programs=1_000, jct_s=600)])
    assert verdict.kind == "grows"
    assert verdict.growth_per_s is not None
    assert verdict.growth_per_s.value == pytest.approx(0.04)


def test_a_backlog_that_never_changes_is_steady() -> None:
    assert Trend.of(np.ones(40)).kind() == "steady"
    assert Slope.of(np.ones(40), 10.0).value == 0
