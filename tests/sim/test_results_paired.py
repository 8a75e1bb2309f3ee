"""Paired differences: the values by hand, the intervals against theory."""

from __future__ import annotations

import math

import numpy as np
import pytest

from continuum_sim.results.paired import METRICS, SEEDS_TO_RESAMPLE, PairedDifference, paired_differences

JctBySeed = dict[int, np.ndarray]


def differences(ours: JctBySeed, base: JctBySeed, seed: int = 0) -> dict[str, PairedDifference]:
    found = paired_differences("ours", "base", ours, base, rng=np.random.default_rng(seed))
    return {item.metric: item for item in found}


def test_values_by_hand() -> None:
    found = differences(
        {0: np.array([1.0, 2.0, 3.0]), 1: np.array([4.0, 5.0, 9.0])}, {0: np.full(3, 8.0), 1: np.full(3, 4.0)}
    )
    assert tuple(found) == METRICS
    mean = found["mean"]
    assert (mean.difference_s, mean.ratio, mean.pairs, mean.resampled) == (4.0 - 6.0, 4.0 / 6.0, 6, "programs")
    assert found["p50"].difference_s == 3.5 - 6.0


def test_pairs_cancel_what_programs_have_in_common() -> None:
    # Long and short programs, all exactly 1 s faster: whichever are drawn, the mean difference is -1.
    base = {0: np.array([1e1, 1e2, 1e3, 1e4])}
    mean = differences({0: base[0] - 1}, base)["mean"]
    assert mean.difference_low_s == pytest.approx(-1)
    assert mean.difference_high_s == pytest.approx(-1)
    assert mean.beyond_noise


def test_the_interval_of_two_pairs_is_the_bootstrap_distribution_itself() -> None:
    # Differences 0 and 10: resamples have mean 0, 5 or 10 with probabilities 1/4, 1/2, 1/4.
    mean = differences({0: np.array([20.0, 30.0])}, {0: np.array([20.0, 20.0])})["mean"]
    assert (mean.difference_low_s, mean.difference_high_s) == (0.0, 10.0)
    assert (mean.ratio_low, mean.ratio_high) == (1.0, 1.5)
    assert not mean.beyond_noise


def test_a_large_sample_has_the_normal_interval() -> None:
    rng = np.random.default_rng(1)
    base = rng.exponential(100.0, 2000)
    ours = base + rng.normal(-3.0, 20.0, 2000)
    mean = differences({0: ours}, {0: base})["mean"]
    half = 1.96 * (ours - base).std() / math.sqrt(2000)
    assert mean.difference_low_s == pytest.approx(mean.difference_s - half, abs=0.1 * half)
    assert mean.difference_high_s == pytest.approx(mean.difference_s + half, abs=0.1 * half)


def test_many_seeds_are_resampled_whole() -> None:
    # Every program of a seed shares its luck, so programs alone would make the interval far too narrow.
    rng = np.random.default_rng(2)
    luck = rng.normal(0.0, 10.0, SEEDS_TO_RESAMPLE)
    base = {seed: np.full(100, 50.0) for seed in range(SEEDS_TO_RESAMPLE)}
    ours = {seed: np.full(100, 50.0 + luck[seed]) for seed in range(SEEDS_TO_RESAMPLE)}
    mean = differences(ours, base)["mean"]
    assert mean.resampled == "seeds"
    assert mean.difference_high_s - mean.difference_low_s > 2 * 1.96 * luck.std() / math.sqrt(SEEDS_TO_RESAMPLE)


@pytest.mark.parametrize("seeds", [SEEDS_TO_RESAMPLE, 10])
def test_intervals_over_seeds_cover_the_truth_as_often_as_they_say(seeds: int) -> None:
    rng = np.random.default_rng(4)
    runs, covered = 100, 0
    for _ in range(runs):
        base = {seed: rng.exponential(100.0, 5) for seed in range(seeds)}
        # What a seed does to all its programs, and what each program adds: mean difference -7.
        ours = {seed: jct_s - 7 + rng.normal(0.0, 10.0) + rng.normal(0.0, 5.0, 5) for seed, jct_s in base.items()}
        mean = differences(ours, base)["mean"]
        covered += mean.difference_low_s <= -7 <= mean.difference_high_s
    # 95 % nominal; a bootstrap of 5 values has few distinct ones and stays a little below (binomial sd 2 to 3 %).
    assert 0.85 < covered / runs < 0.99


def test_equal_runs_are_within_noise_even_if_sums_were_rounded_otherwise() -> None:
    base = np.linspace(100, 1000, 50)
    mean = differences({0: base * (1 + 1e-12)}, {0: base})["mean"]
    assert mean.difference_low_s > 0
    assert not mean.beyond_noise


def test_one_pair_has_no_interval() -> None:
    mean = differences({0: np.array([1.0])}, {0: np.array([2.0])})["mean"]
    assert mean.difference_s == -1.0
    assert math.isnan(mean.difference_low_s)
    assert not mean.beyond_noise


def test_intervals_depend_on_the_generator_alone() -> None:
    rng = np.random.default_rng(3)
    ours, base = {0: rng.random(30)}, {0: rng.random(30)}
    assert differences(ours, base, 7) == differences(ours, base, 7)
    assert differences(ours, base, 7) != differences(ours, base, 8)
