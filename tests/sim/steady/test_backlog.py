"""The backlog over time equals the sum of the work present, whatever its bins."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.steady.backlog import Backlog


def exact_means(times: np.ndarray, tokens: np.ndarray, end_s: float, parts: int) -> list[float]:
    """Return ∫ W over each part by definition: every piece of work counts from its time on."""
    edges = np.linspace(0, end_s, parts + 1)
    integral = [(tokens * np.clip(edge - times, 0, None)).sum() for edge in edges]
    return (np.diff(integral) / (end_s / parts)).tolist()


@given(
    st.lists(
        st.tuples(st.floats(0, 5_000), st.integers(1, 100_000), st.floats(0, 5_000)),
        min_size=1,
        max_size=40,
    )
)
def test_means_are_those_of_the_work_that_is_there(work: list[tuple[float, int, float]]) -> None:
    arrival_s, tokens, stay_s = (np.array(part, float) for part in zip(*work, strict=True))
    backlog = Backlog()
    for place in range(0, len(work), 7):  # in batches, as a recorder does
        these = slice(place, place + 7)
        backlog.done(arrival_s[these] + stay_s[these], tokens[these])
        backlog.arrived(arrival_s[these], tokens[these])
    times = np.concatenate((arrival_s, arrival_s + stay_s))
    wanted = exact_means(times, np.concatenate((tokens, -tokens)), 5_000.0, 40)
    assert backlog.means(5_000.0, 40) == pytest.approx(wanted, abs=1e-3 * tokens.sum())


def test_a_run_of_years_still_has_its_parts() -> None:
    backlog = Backlog()
    day_s = 86_400.0
    days = np.arange(1_000)
    backlog.arrived(days * day_s, np.ones(1_000))
    backlog.done((days + 0.5) * day_s, np.ones(1_000))
    assert backlog.means(1_000 * day_s, 40) == pytest.approx([0.5] * 40, abs=0.01)
