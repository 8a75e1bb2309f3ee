"""Estimates over runs and paired differences: the values by hand, the intervals against Student's t."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.results.estimate import (
    METRICS,
    Estimate,
    averaged,
    averaged_ratio,
    effect,
    interval,
    pooled,
    pooled_ratio,
    read_min_effect,
)
from continuum_sim.results.paired import PairedDifference, paired_differences
from continuum_sim.results.view.comparison import about_line

JctBySeed = dict[int, np.ndarray]


def differences(ours: JctBySeed, base: JctBySeed, *, drawn: bool = False) -> dict[str, PairedDifference]:
    found = paired_differences("ours", "base", ours, base, drawn=drawn)
    return {item.metric: item for item in found}


def test_values_by_hand() -> None:
    found = differences(
        {0: np.array([1.0, 2.0, 3.0]), 1: np.array([4.0, 5.0, 9.0])}, {0: np.full(3, 8.0), 1: np.full(3, 4.0)}
    )
    assert tuple(found) == METRICS
    mean = found["mean"]
    assert (mean.difference_s, mean.ratio, mean.pairs, mean.runs) == (4.0 - 6.0, 4.0 / 6.0, 6, 2)
    assert found["p50"].difference_s == 3.5 - 6.0
    # Means of the runs: 2 and 6 against 8 and 4. Differences -6 and 2: s = 5.656854, t(1, 97.5 %) = 12.706205.
    assert mean.difference_high_s == pytest.approx(-2 + 12.706205 * 5.656854 / math.sqrt(2), rel=1e-6)
    logs = np.log([2 / 8, 6 / 4])
    assert mean.ratio_low == pytest.approx(4 / 6 * math.exp(-12.706205 * logs.std(ddof=1) / math.sqrt(2)), rel=1e-6)
    assert mean.verdict == "too few seeds"


def test_the_interval_of_three_runs() -> None:
    # Logs 1, 2, 3: s = 1, t(2, 97.5 %) = 4.302653; for a replay t s / sqrt(3), for draws t s sqrt(1 + 1/3).
    samples = [np.array([math.exp(x)]) for x in (1.0, 2.0, 3.0)]
    value = sum(math.exp(x) for x in (1, 2, 3)) / 3
    for drawn, reach in ((False, 4.302653 / math.sqrt(3)), (True, 4.302653 * math.sqrt(4 / 3))):
        found = pooled("mean", samples, drawn=drawn)
        assert found == pytest.approx((value, value / math.exp(reach), value * math.exp(reach), 3), rel=1e-6)
        plain = averaged([1.0, 2.0, 3.0], drawn=drawn, logs=False)
        assert plain == pytest.approx((2, 2 - reach, 2 + reach, 3), rel=1e-6)


def test_runs_count_by_their_programs() -> None:
    samples = [np.array([1.0, 1.0, 1.0]), np.array([5.0])]
    assert pooled("mean", samples, drawn=True).value == 2.0
    assert averaged([1.0, 5.0], drawn=True, weights=[3, 1]).value == 2.0
    assert averaged_ratio([1.0, 5.0], [1.0, 1.0], drawn=True, weights=([3, 1], [1, 1])).value == 2.0


@given(st.lists(st.floats(0.1, 1e6), min_size=2, max_size=20), st.floats(0.1, 10), st.booleans())
def test_a_common_factor_moves_estimates_alone(sample: list[float], factor: float, drawn: bool) -> None:
    one, scaled = averaged(sample, drawn=drawn), averaged([factor * x for x in sample], drawn=drawn)
    assert scaled[:3] == pytest.approx([factor * x for x in one[:3]], rel=1e-6)


def test_the_reverse_of_a_ratio_is_its_inverse() -> None:
    above, below = [np.array([2.0]), np.array([8.0])], [np.array([1.0]), np.array([3.0])]
    forth, back = pooled_ratio("p50", above, below, drawn=True), pooled_ratio("p50", below, above, drawn=True)
    assert (back.value, back.low, back.high) == pytest.approx((1 / forth.value, 1 / forth.high, 1 / forth.low))


def test_one_run_has_no_interval_whatever_its_programs() -> None:
    rng = np.random.default_rng(0)
    mean = differences({0: rng.random(1000)}, {0: 1 + rng.random(1000)}, drawn=True)["mean"]
    assert mean.difference_s < 0
    assert math.isnan(mean.difference_low_s)
    assert math.isnan(mean.ratio_high)
    assert (mean.verdict, mean.beyond_noise) == ("too few seeds", False)


def test_nothing_at_all_has_an_estimate_too() -> None:
    assert averaged([0.0, 0.0], drawn=True) == (0, 0, 0, 2)
    assert math.isnan(pooled_ratio("mean", [np.zeros(2)] * 2, [np.zeros(2)] * 2, drawn=False).value)


def test_intervals_of_many_worlds_at_once_are_those_of_each() -> None:
    each = np.random.default_rng(1).lognormal(size=(4, 7))
    value = each.mean(axis=-1)
    low, high = interval(value, each, drawn=True)
    for at in range(4):
        assert (low[at], high[at]) == pytest.approx(averaged(each[at], drawn=True)[1:3])


@pytest.mark.parametrize(
    ("ratio", "low", "high", "runs", "said"),
    [
        (0.8, 0.7, 0.9, 5, "faster"),
        (1.2, 1.1, 1.3, 5, "slower"),
        (0.8, 0.7, 0.9, 4, "too few seeds"),
        (0.8, math.nan, math.nan, 1, "too few seeds"),
        (0.995, 0.992, 0.998, 20, "equal"),
        (1.0, 1.0, 1.0, 20, "equal"),
        (0.985, 0.975, 1.0, 20, "within noise"),
        (0.992, 0.98, 0.999, 20, "within noise"),
        (0.5, 0.2, 1.5, 20, "within noise"),
    ],
)
def test_what_a_ratio_comes_to(ratio: float, low: float, high: float, runs: int, said: str) -> None:
    assert effect(Estimate(ratio, low, high, runs), 0.01) == said


def test_the_smallest_effect_is_a_choice_but_rounding_is_none() -> None:
    assert effect(Estimate(0.995, 0.992, 0.998, 5), 0.0) == "faster"
    assert effect(Estimate(1 + 1e-12, 1 + 1e-13, 1 + 1e-11, 5), 0.0) == "equal"
    assert (read_min_effect("5%"), read_min_effect("0.02"), read_min_effect(0.03)) == (0.05, 0.02, 0.03)
    for wrong in ("x", "-1%", 5, True, "100%"):
        with pytest.raises(ConfigError, match="expected a share below 1, as in 1% or 0.01"):
            read_min_effect(wrong)


def test_what_intervals_are_about_is_said() -> None:
    def said(runs: int, *, drawn: bool) -> str:
        return about_line(runs, drawn=drawn)

    assert said(1, drawn=True) == "One run has no interval: give several seeds (--seeds)."
    assert said(4, drawn=False).endswith("4 runs replay the same programs; no verdict below 5 seeds.")
    assert "these programs, other arrivals" in said(20, drawn=False)
    assert "each of 5 runs drew its own programs (a first look; 10 seeds or more make an interval)" in said(
        5, drawn=True
    )
    assert said(10, drawn=True).endswith("each of 10 runs drew its own programs.")
