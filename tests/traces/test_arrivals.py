from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from continuum_sim.traces import (
    ARRIVALS,
    Burst,
    Closed,
    FromTrace,
    Gamma,
    OpenArrivals,
    Poisson,
    Program,
    TraceError,
    Turn,
    Uniform,
)

PROGRAM = Program("p", (Turn(1, 0, 1),))


def gaps_s(process: OpenArrivals, count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    times = [time_s for time_s, _ in process.times(itertools.repeat(PROGRAM, count), rng)]
    assert len(times) == count
    return np.diff(times, prepend=0.0)


def test_poisson_gaps_are_exponential_of_the_rate() -> None:
    gaps = gaps_s(Poisson(rate=0.1), 20_000)
    assert gaps.mean() == pytest.approx(10.0, rel=0.03)  # four standard errors
    assert stats.kstest(gaps, stats.expon(scale=10.0).cdf).pvalue > 0.001
    assert stats.pearsonr(gaps[:-1], gaps[1:]).pvalue > 0.001


@pytest.mark.parametrize("cv", [0.2, 1.0, 3.0])
def test_gamma_gaps_have_the_rate_and_the_variation(cv: float) -> None:
    gaps = gaps_s(Gamma(rate=2.0, cv=cv), 50_000)
    assert gaps.mean() == pytest.approx(0.5, rel=4 * cv / np.sqrt(50_000))
    assert gaps.std() / gaps.mean() == pytest.approx(cv, rel=0.06)


def test_gamma_of_cv_one_is_poisson() -> None:
    assert stats.ks_2samp(gaps_s(Gamma(3.0, 1.0), 5_000), gaps_s(Poisson(3.0), 5_000, seed=1)).pvalue > 0.001


def test_uniform_is_exact_and_does_not_drift() -> None:
    times = np.cumsum(gaps_s(Uniform(rate=0.1), 1000))
    np.testing.assert_allclose(times, np.arange(1, 1001) * 10.0, rtol=1e-12)


def test_burst_is_all_at_zero() -> None:
    assert not gaps_s(Burst(), 5).any()


@pytest.mark.parametrize("process", [Poisson(1.0), Gamma(1.0, 2.0), Uniform(1.0), Burst()])
def test_same_seed_same_times_and_programs_keep_their_order(
    process: OpenArrivals, chat: Callable[..., Program]
) -> None:
    trace = [chat(str(number)) for number in range(50)]
    first, again, other = (list(process.times(iter(trace), np.random.default_rng(seed))) for seed in (7, 7, 8))
    assert first == again
    assert [program for _, program in first] == trace
    assert (first == other) == isinstance(process, Uniform | Burst)
    assert all(before <= after for (before, _), (after, _) in itertools.pairwise(first))


@pytest.mark.parametrize("process", [Poisson(1.0), Gamma(1.0, 2.0), Uniform(1.0), Burst(), FromTrace()])
def test_programs_are_pulled_one_at_a_time(process: OpenArrivals) -> None:
    pulled = 0

    def endless() -> Iterator[Program]:
        nonlocal pulled
        while True:
            pulled += 1
            yield replace(PROGRAM, arrival_s=float(pulled))

    times = process.times(endless(), np.random.default_rng(0))
    assert pulled == 0
    assert len(list(itertools.islice(times, 3))) == 3
    assert pulled == 3


def test_from_trace_uses_the_times_as_they_stand(chat: Callable[..., Program]) -> None:
    trace = [chat(str(number), arrival_s=time_s) for number, time_s in enumerate([5.0, 5.0, 8.25])]
    times = FromTrace().times(trace, np.random.default_rng(0))
    assert list(times) == [(5.0, trace[0]), (5.0, trace[1]), (8.25, trace[2])]


def test_from_trace_names_the_first_program_without_a_time(chat: Callable[..., Program]) -> None:
    trace = [chat("a", arrival_s=1.0), chat("b"), chat("c")]
    with pytest.raises(TraceError, match=r'^program "b": arrival_s is missing, expected one in every'):
        list(FromTrace().times(trace, np.random.default_rng(0)))


def test_from_trace_refuses_time_running_backwards(chat: Callable[..., Program]) -> None:
    trace = [chat("a", arrival_s=9.0), chat("b", arrival_s=4.0)]
    with pytest.raises(TraceError, match=r'^program "b": arrival_s is 4, expected at least 9, .*sort the trace'):
        list(FromTrace().times(trace, np.random.default_rng(0)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (
            lambda: Poisson(0),
            "poisson: rate is 0, expected a number from 1e-09 to 1e+09 (programs per second)",
        ),
        (lambda: Poisson(-1.5), "poisson: rate is -1.5, expected a number from 1e-09 to 1e+09"),
        (lambda: Poisson(float("nan")), "poisson: rate is NaN, expected"),
        (lambda: Uniform(float("inf")), "uniform: rate is Infinity, expected"),
        (lambda: Uniform(True), "uniform: rate is true, expected"),
        (lambda: Poisson("fast"), 'poisson: rate is "fast", expected'),
        (lambda: Gamma(-1, 1), "gamma: rate is -1, expected"),
        (lambda: Gamma(1, 0), "gamma: cv is 0, expected a number from 0.001 to 1000 (sd / mean of the gaps)"),
        (lambda: Closed(0), "closed: workers is 0, expected an integer of at least 1"),
        (lambda: Closed(2.0), "closed: workers is 2.0, expected an integer of at least 1"),
        (lambda: Closed(True), "closed: workers is true, expected an integer of at least 1"),
    ],
)
def test_a_bad_parameter_is_named_with_its_range(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the whole text is compared below)
        build()
    assert str(caught.value).startswith(message)


def test_the_registry_describes_each_process_by_its_fields() -> None:
    assert {name: [field.name for field in fields(process)] for name, process in ARRIVALS.items()} == {
        "poisson": ["rate"],
        "gamma": ["rate", "cv"],
        "uniform": ["rate"],
        "burst": [],
        "trace": [],
        "closed": ["workers"],
    }
    assert Closed(64).workers == 64
