"""What `History` has learnt, against NumPy's own answers."""

from __future__ import annotations

import decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.policies.history import WAIT_WINDOW, Durations, History, TurnCounts

seconds = st.builds(lambda digits, decade: digits / 10**decade, st.integers(0, 999), st.integers(0, 4))
"""Durations of three significant digits, which are stored unchanged."""


asked = st.lists(st.booleans(), min_size=200, max_size=200)
"""After which records the durations are read, so that those recorded since are sorted in."""


def recorded(values: list[float]) -> Durations:
    durations = Durations()
    for value in values:
        durations.add(value)
    return durations


@given(st.lists(seconds, min_size=1, max_size=200), asked)
def test_shares_are_the_empirical_distribution(values: list[float], asked: list[bool]) -> None:
    durations = Durations()
    for value, look in zip(values, asked, strict=False):
        durations.add(value)
        assert not look or durations.shares[-1] == 1.0
    assert len(durations) == len(values)
    assert list(durations.values_s) == sorted(set(values))
    naive = [np.mean([value <= at + 1e-9 for value in values]) for at in durations.values_s]
    assert list(durations.shares) == pytest.approx(naive)
    assert durations.mean_s() == pytest.approx(np.mean(values), abs=1e-9)


@given(st.lists(seconds, min_size=1, max_size=80), st.floats(0.0, 1.0))
def test_quantiles_are_numpys_inverted_distribution(values: list[float], share: float) -> None:
    # `inverted_cdf` is the smallest record that at least the share does not exceed.
    counts = share * len(values)
    if abs(counts - round(counts)) < 1e-6:
        share = round(counts) / len(values)  # on a step of the distribution rounding would decide
    expected = np.quantile(values, share, method="inverted_cdf")
    assert recorded(values).quantile_s(share) == pytest.approx(float(expected), abs=1e-9)


@given(st.floats(1e-4, 1e6))
def test_durations_are_rounded_up_to_three_digits(value: float) -> None:
    """As decimal arithmetic has it, within the nanosecond in which instants are the same."""
    up = decimal.Context(prec=3, rounding=decimal.ROUND_CEILING)
    (kept,) = recorded([value]).values_s
    assert kept in {float(up.create_decimal(repr(value))), float(up.create_decimal(repr(max(value - 1e-9, 1e-9))))}
    assert value - 1e-9 <= kept <= value * 1.01 + 1e-6, "a pin learnt from a call covers it"


def test_rounding_noise_and_clock_noise_do_not_make_new_durations() -> None:
    durations = recorded([2.5, 2.5 + 4e-16, 2.5 + 1e-10, 2.491, 2.4999])
    assert list(durations.values_s) == [2.5]
    assert list(durations.shares) == [1.0]
    assert list(recorded([999.0, 999.5, 1000.0, 1001.0]).values_s) == [999.0, 1000.0, 1010.0]
    assert list(recorded([0.0, 1e-10, 4e-7, 1.2e-6]).values_s) == [0.0, 1e-6, 2e-6]


def test_the_distinct_durations_of_any_number_of_calls_are_bounded() -> None:
    durations = recorded([float(v) for v in np.random.default_rng(1).lognormal(0.0, 2.0, 20_000)])
    assert len(durations) == 20_000
    decades = np.log10(durations.values_s[-1] / durations.values_s[0])
    assert len(durations.values_s) <= 900 * (decades + 1)


def test_no_records() -> None:
    durations = Durations()
    assert len(durations) == 0
    assert durations.mean_s() == 0.0
    assert durations.quantile_s(0.5) == 0.0
    assert len(durations.values_s) == len(durations.shares) == 0


def test_many_distinct_durations() -> None:
    values = np.random.default_rng(5).permutation(1000) * 0.001
    durations = recorded([float(v) for v in values])
    assert np.all(np.diff(durations.values_s) > 0)
    assert durations.shares[-1] == 1.0
    assert durations.quantile_s(0.95) == 0.949


# η --------------------------------------------------------------------------------------------------------------


def eta_by_numpy(lengths: list[int]) -> float:
    done = np.concatenate([np.arange(1, n + 1) for n in lengths])
    left = np.concatenate([n - np.arange(1, n + 1) for n in lengths])
    return float(np.clip(-np.corrcoef(done, left)[0, 1], 0.0, 1.0))


@given(st.lists(st.integers(1, 60), min_size=2, max_size=60).filter(lambda lengths: len(set(lengths)) > 1))
def test_eta_is_the_correlation_of_turns_done_and_left(lengths: list[int]) -> None:
    counts = TurnCounts()
    for length in lengths:
        counts.add(length)
    assert counts.eta() == pytest.approx(eta_by_numpy(lengths), abs=1e-9)


def test_eta_is_one_until_two_lengths_have_been_seen() -> None:
    counts = TurnCounts()
    assert counts.eta() == 1.0
    for _ in range(5):
        counts.add(7)
        assert counts.eta() == 1.0
    counts.add(8)
    assert counts.eta() == pytest.approx(eta_by_numpy([7] * 5 + [8]))
    assert counts.eta() < 1.0


def test_lengths_without_memory_have_an_eta_near_zero() -> None:
    counts = TurnCounts()
    for length in np.random.default_rng(2).geometric(0.1, 20_000):
        counts.add(int(length))
    assert counts.eta() == pytest.approx(0.0, abs=0.05)


def test_lengths_that_hardly_vary_have_an_eta_near_one() -> None:
    counts = TurnCounts()
    for length in (30, 31, 30, 29, 30):
        counts.add(length)
    assert counts.eta() > 0.95


def test_few_long_programs_among_short_ones_clip_eta_at_zero() -> None:
    # The further a program is, the more is still to come: the correlation is positive.
    lengths = [1] * 50 + [40]
    counts = TurnCounts()
    for length in lengths:
        counts.add(length)
    assert counts.eta() == pytest.approx(eta_by_numpy(lengths), abs=1e-9)


# T̄ and tools ---------------------------------------------------------------------------------------------------


def test_the_mean_wait_looks_back_so_many_turns() -> None:
    history = History()
    assert history.mean_wait_s() == 0.0
    waits = [float(k) for k in range(WAIT_WINDOW + 30)]
    for wait_s in waits:
        history.unpinned_turn_waited(wait_s)
    assert WAIT_WINDOW == 100
    assert history.mean_wait_s() == pytest.approx(np.mean(waits[-WAIT_WINDOW:]))


def test_tools_are_kept_apart_and_together() -> None:
    history = History()
    history.tool_returned("ls", 1.0)
    history.tool_returned("ls", 2.0)
    history.tool_returned("cat", 3.0)
    history.tool_returned(None, 4.0)
    assert len(history.all_tools) == 4
    assert len(history.of_tool("ls")) == 2
    assert len(history.of_tool("never")) == 0
    assert len(history.of_tool(None)) == 0
    assert history.of_tool("cat").mean_s() == pytest.approx(3.0)
