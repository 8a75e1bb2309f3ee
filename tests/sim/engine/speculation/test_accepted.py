"""How many drafts each step accepts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.speculation.accepted import AcceptedDrafts
from continuum_sim.engine.speculation.config import SpeculationConfig, bent_rates
from continuum_sim.traces.schema import Program, Turn
from support.runs import simulate


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


shares = st.floats(0.0, 1.0, allow_subnormal=False)


@given(
    rates=st.lists(shares, min_size=1, max_size=6).map(lambda found: tuple(sorted(found, reverse=True))), data=st.data()
)
def test_a_turns_own_length_is_met_by_rates_of_the_same_shape(rates: tuple[float, ...], data: st.DataObject) -> None:
    length = data.draw(st.floats(1.0, 1.0 + len(rates)))
    bent = bent_rates(rates, length)
    assert SpeculationConfig("eagle", len(rates), bent).acceptance_length == pytest.approx(length, abs=1e-6)


def test_rates_of_their_own_length_stay() -> None:
    assert bent_rates((0.8, 0.6, 0.4), 2.8) == pytest.approx((0.8, 0.6, 0.4))
    assert bent_rates((0.8, 0.6), 9.0) == (1.0, 1.0), "the trace was recorded with more drafts"


def test_a_trace_tells_what_a_turn_accepts() -> None:
    """Edits accept more drafts than prose: the turns of one run differ."""
    turns = (
        Turn(100, 0, 3001, "edit", 1.0, mean_acceptance_length=3.9),
        Turn(3200, 3101, 3001, mean_acceptance_length=1.2),
    )
    config = EngineConfig(2000, speculation=SpeculationConfig("eagle", 3, (0.8, 0.6, 0.4)), max_model_len=9000)
    outcome = simulate([Program("p", turns, 0.0)], config=config)
    for record, length in zip(outcome.turns, (3.9, 1.2), strict=True):
        assert 3000 / (record.finish_s - record.first_token_s) == pytest.approx(length, rel=0.03)
