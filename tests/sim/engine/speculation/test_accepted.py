"""How many drafts each step accepts."""

from __future__ import annotations

import numpy as np
import pytest

from continuum_sim.engine.speculation.accepted import AcceptedDrafts


def drawn(seed: int, rates: tuple[float, ...]) -> AcceptedDrafts:
    return AcceptedDrafts(np.random.default_rng(seed), rates)


def test_each_rate_is_the_share_of_steps_that_accept_so_many() -> None:
    """`synthetic_acceptance_rates` are unconditional: vLLM accepts the n-th draft with rate n over rate n - 1."""
    rates = (0.9, 0.5, 0.5, 0.1)
    accepted = drawn(0, rates).coming(100_000)
    for number, rate in enumerate(rates, start=1):
        assert np.mean(accepted >= number) == pytest.approx(rate, abs=5e-3)
    assert accepted.max() == 4


@pytest.mark.parametrize(("rates", "always"), [((1.0, 1.0), 2), ((1.0, 0.0), 1), ((0.0, 0.0), 0)])
def test_rates_of_0_and_1_leave_nothing_to_chance(rates: tuple[float, ...], always: int) -> None:
    assert set(drawn(0, rates).coming(1_000)) == {always}


def test_how_many_are_drawn_at_once_changes_nothing() -> None:
    one, other = drawn(5, (0.7, 0.3)), drawn(5, (0.7, 0.3))
    singly = [one.next() for _ in range(500)]
    found: list[int] = []
    for steps in (1, 63, 64, 65, 200, 107):
        coming = list(other.coming(steps))
        assert list(other.coming(steps)) == coming, "they stay the next"
        other.take(steps)
        found += coming
    assert found == singly
