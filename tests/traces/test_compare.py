"""Comparison of two traces."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from continuum_sim.traces import Program, TraceError, Turn, compare_traces, find_trace, read_programs
from continuum_sim.traces.compare import ks_distance

numbers = st.lists(st.integers(0, 8).map(float), min_size=1, max_size=30)


@given(numbers, numbers)
def test_the_distance_is_that_of_kolmogorov_and_smirnov(a: list[float], b: list[float]) -> None:
    assert ks_distance(a, b) == pytest.approx(stats.ks_2samp(a, b, method="asymp").statistic)


def test_a_trace_is_no_distance_from_itself() -> None:
    path = find_trace("swebench")
    rows = compare_traces(read_programs(path), read_programs(path))
    assert all(row.ks == 0 and row.a == row.b for row in rows)
    assert [row.name for row in rows][-1].startswith("gap, s: ")
    assert all(row.a.count >= 20 for row in rows)


def test_two_traces_by_hand() -> None:
    a = [Program("a", (Turn(100, 0, 10, "ls", 1.0), Turn(150, 110, 20)))]
    b = [Program("b", (Turn(100, 0, 10, "ls", 3.0), Turn(150, 75, 20))), Program("c", (Turn(40, 0, 5),))]
    rows = {row.name: row for row in compare_traces(a, b)}
    turns = rows["turns a program"]
    assert (turns.a.mean, turns.b.mean, turns.ks) == (2.0, 1.5, 0.5)
    assert turns.by_chance == pytest.approx(1.358 * math.sqrt(3 / 2))
    assert rows["new prompt tokens a turn"].a.p50 == 40
    assert rows["new prompt tokens a turn"].b.p50 == 75
    assert rows["prompt share kept, a program"].a.mean == pytest.approx(110 / 250)
    assert rows["gap, s"].ks == 1.0
    assert rows["tokens a program, summed"].b.mean == np.mean([280, 45])
    assert not any(name.startswith("gap, s: ") for name in rows)  # one call each


def test_an_empty_trace_is_refused() -> None:
    with pytest.raises(TraceError, match="no program to compare"):
        compare_traces([], [Program("a", (Turn(1, 0, 1),))])
