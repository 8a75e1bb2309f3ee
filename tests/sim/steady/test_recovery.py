"""Recovery: JCTs after a burst compared with those without it, window by window."""

from __future__ import annotations

import numpy as np
import pytest

from continuum_sim.steady.recovery import recovery

TIMES_S = np.arange(1.0, 331.0)
"""Six windows, the last one of 80."""


def after(*ratios: float, at_s: float = 0.0) -> tuple[bool, int | None, float | None, int]:
    jct_s = np.repeat(ratios, [50] * (len(ratios) - 1) + [330 - 50 * (len(ratios) - 1)]) * 100.0
    found = recovery(TIMES_S, jct_s, np.full(330, 100.0), at_s)
    return found.recovered, found.programs, found.seconds, found.programs_looked_at


def test_it_has_recovered_from_the_window_on_from_which_none_is_worse() -> None:
    assert after(9, 3, 1.09, 1, 1, 1.09) == (True, 100, 101.0, 330)
    assert after(9, 1, 3, 1, 1, 1) == (True, 150, 151.0, 330)
    assert after(1, 1, 1, 1, 1, 1) == (True, 0, 0.0, 330)


def test_it_has_not_where_the_last_window_is_worse() -> None:
    assert after(1, 1, 1, 1, 1, 1.11) == (False, None, None, 330)


def test_a_short_last_window_joins_the_one_before() -> None:
    jct_s = np.full(330, 100.0)
    jct_s[300:] = 140.0  # of 80 programs 30: the mean is 1.15 times as high
    found = recovery(TIMES_S, jct_s, np.full(330, 100.0), 0.0)
    assert len(found.ratios) == 6
    assert found.ratios[-1] == pytest.approx(1.15)
    assert not found.recovered


def test_only_what_arrives_with_it_or_later_is_looked_at() -> None:
    jct_s = np.where(TIMES_S < 100, 900.0, 100.0)
    found = recovery(TIMES_S, jct_s, np.full(330, 100.0), 100.0)
    assert (found.recovered, found.programs, found.seconds, found.programs_looked_at) == (True, 0, 0.0, 231)
    assert len(found.ratios) == 4


@pytest.mark.parametrize("programs", [1, 30, 49])
def test_fewer_than_a_window_are_one(programs: int) -> None:
    found = recovery(TIMES_S[:programs], np.full(programs, 2.0), np.ones(programs), 0.0)
    assert (found.ratios, found.recovered) == ((2.0,), False)


def test_nobody_says_nothing() -> None:
    found = recovery(TIMES_S, np.ones(330), np.ones(330), 1e6)
    assert (found.ratios, found.programs_looked_at, found.recovered) == ((), 0, False)
