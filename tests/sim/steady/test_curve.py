"""Predictions from a service curve, against chains whose behaviour is known exactly."""

from __future__ import annotations

import math

import pytest

from continuum_sim.steady.curve import ServiceCurve
from support.chains import hitting_share

MADE_UP = ServiceCurve([5, 10, 20, 30, 50, 100, 400], [0.015, 0.03, 0.045, 0.03, 0.02, 0.015, 0.015], fits=18)
FLAT = ServiceCurve([10], [1.0], fits=10)


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_collapse_from_empty_is_that_of_the_chain(share: float) -> None:
    rate = MADE_UP.from_empty_per_s(2_000, share)
    assert MADE_UP.congested_per_s < rate < MADE_UP.peak[1]
    level = math.ceil(3 * MADE_UP.fits)
    assert hitting_share(MADE_UP, rate, level, 2_000 / rate) == pytest.approx(
        share, rel=0.1
    )  # it starts empty, not settled
    assert MADE_UP.collapse_share(rate, 2_000) == pytest.approx(share, rel=1e-3)


def test_a_longer_service_collapses_at_a_lower_rate() -> None:
    rates = [MADE_UP.from_empty_per_s(programs, 0.05) for programs in (500, 2_000, 10_000)]
    assert rates == sorted(rates, reverse=True)
    assert rates[0] > rates[-1]


def test_a_burst_drains_as_a_fluid_does() -> None:
    """Beyond 10 the curve is level, so n falls by 1 − λ per second: from 100 to 11 within λ·89/(1 − λ) arrivals."""
    rate = FLAT.recoverable_per_s(burst=100, horizon=1_500)
    assert rate * (100 - 11) / (1 - rate) == pytest.approx(1_500, rel=1e-3)


def test_recovery_is_slower_where_congestion_costs() -> None:
    rates = [MADE_UP.recoverable_per_s(burst, 1_500) for burst in (30, 100, 400)]
    assert rates == sorted(rates, reverse=True)
    assert MADE_UP.recoverable_per_s(100, 1e9) == pytest.approx(MADE_UP.congested_per_s, rel=1e-3)
    assert MADE_UP.recoverable_per_s(400, 1_500) < MADE_UP.congested_per_s


def test_a_burst_below_the_peak_is_none() -> None:
    assert MADE_UP.recoverable_per_s(15, 100) == MADE_UP.peak[1]


def test_the_floor_is_taken_beyond_what_fits() -> None:
    dip = ServiceCurve([10, 50, 100, 200], [0.04, 0.01, 0.02, 0.019], fits=20)
    assert dip.congested_per_s == 0.019
    assert ServiceCurve([10], [0.04], fits=20).congested_per_s == 0.04
    assert FLAT.from_empty_per_s(1_000, 0.05) == 1.0


@pytest.mark.parametrize(("n", "per_s"), [([], []), ([1, 1], [1, 1]), ([1, 2], [1]), ([0, 1], [1, 1]), ([1], [0])])
def test_points_that_are_no_curve_are_refused(n: list[float], per_s: list[float]) -> None:
    with pytest.raises(ValueError, match="a service curve needs"):
        ServiceCurve(n, per_s, fits=1)
