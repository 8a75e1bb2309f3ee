"""Averages over bins: by hand, and nothing gained or lost whatever the bins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.report.averages import average_of, average_open, time_edges

moments = st.integers(0, 400).map(lambda quarter: quarter / 4)


def test_open_intervals_by_hand() -> None:
    # [1, 3) and [2, 6): one, two, one open; half of the last bin.
    found = average_open(np.array([0.0, 1.0, 2.0, 3.0, 4.0, 8.0]), np.array([2.0, 1.0]), np.array([6.0, 3.0]))
    assert found.tolist() == [0.0, 1.0, 2.0, 1.0, 0.5]


def test_values_by_hand() -> None:
    # 10 over [1, 3), 4 over [3, 4), nothing until 6, then 8.
    found = average_of(
        np.array([0.0, 2.0, 4.0, 8.0]), np.array([1.0, 3.0, 6.0]), np.array([3.0, 4.0, 8.0]), np.array([10.0, 4.0, 8.0])
    )
    assert found.tolist() == [5.0, 7.0, 4.0]
    assert average_of(np.array([0.0, 1.0]), np.array([]), np.array([]), np.array([])).tolist() == [0.0]


@given(st.lists(st.tuples(moments, moments), max_size=30), st.lists(moments, min_size=2, max_size=20, unique=True))
def test_open_time_adds_up_whatever_the_bins(intervals: list[tuple[float, float]], cuts: list[float]) -> None:
    pairs = [(min(pair), max(pair)) for pair in intervals]
    edges_s = np.array(sorted(cuts))
    starts_s, ends_s = np.array(pairs, dtype=float).reshape(-1, 2).T
    total_s = float((average_open(edges_s, starts_s, ends_s) * np.diff(edges_s)).sum())
    inside = sum(max(0.0, min(end, edges_s[-1]) - max(start, edges_s[0])) for start, end in pairs)
    assert total_s == pytest.approx(inside, abs=1e-9)


@given(st.lists(moments, max_size=20), st.integers(1, 30))
def test_edges_are_the_instants_where_they_are_few(instants: list[float], most: int) -> None:
    edges_s, exact = time_edges(np.array(instants, dtype=float), 100.0, most)
    assert (edges_s[0], edges_s[-1]) == (0.0, 100.0)
    assert (np.diff(edges_s) > 0).all()
    assert len(edges_s) <= max(most + 1, 2)
    if exact:
        assert set(instants) <= set(edges_s)
