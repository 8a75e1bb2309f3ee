"""The statistics of a validation."""

from __future__ import annotations

import numpy as np
import pytest

from continuum_sim.validate.judge.statistics import (
    STATISTICS,
    among_themselves,
    interval_over_repeats,
    kendall_tau,
    mean,
    share_equal,
    spread,
)


def test_the_interval_covers_the_true_mean_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(200):
        repeats = [rng.normal(10, 1, size=1) for _ in range(15)]
        found = interval_over_repeats(repeats, mean)
        assert found.low <= found.value <= found.high
        inside += found.low <= 10 <= found.high
    assert 175 <= inside <= 198  # percentile intervals of 15 values are slightly too short


def test_whole_repeats_are_resampled() -> None:
    """Programs of one run vary together, so a large number of them does not make the interval narrow."""
    repeats = [np.full(1000, 9.0), np.full(1000, 11.0)]
    found = interval_over_repeats(repeats, mean)
    assert (found.low, found.value, found.high) == (9.0, 10.0, 11.0)


def test_one_repeat_has_no_interval() -> None:
    found = interval_over_repeats([np.array([1.0, 3.0])], mean)
    assert (found.low, found.value, found.high) == (2.0, 2.0, 2.0)


def test_spread_is_the_range_as_a_share_of_the_mean() -> None:
    assert spread([9.0, 10.0, 11.0]) == pytest.approx(0.2)
    assert spread([5.0]) == 0.0
    assert spread([0.0, 0.0]) == 0.0


def test_kendall_tau() -> None:
    assert kendall_tau([1, 2, 3], [10, 20, 30]) == pytest.approx(1.0)
    assert kendall_tau([1, 2, 3], [30, 20, 10]) == pytest.approx(-1.0)
    assert kendall_tau([1, 2, 3], [20, 10, 30]) == pytest.approx(1 / 3)
    assert kendall_tau([1], [1]) is None
    assert kendall_tau([1, 1], [1, 2]) is None


def test_shares_of_equal_values() -> None:
    one, other = {"a": 1, "b": 2}, {"a": 1, "b": 3}
    assert share_equal([(one, other)]) == 0.5
    assert share_equal([]) is None
    assert among_themselves([one, one, other]) == pytest.approx((1 + 0.5 + 0.5) / 3)
    assert among_themselves([one]) is None


def test_quantiles_interpolate_as_numpy_does() -> None:
    sample = np.arange(1.0, 11.0)
    assert STATISTICS["p50"](sample) == 5.5
    assert STATISTICS["p95"](sample) == pytest.approx(9.55)
