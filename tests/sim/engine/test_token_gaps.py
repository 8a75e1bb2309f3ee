"""Gaps between output tokens, against the times of all tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.policies import Order, Policy, PolicyError
from continuum_sim.policies.views import TurnView
from continuum_sim.traces.schema import Program
from support.compare import assert_gaps_are_those_of_turns
from support.programs import engine, program, turn
from support.rules import OldestYields
from support.runs import Outcome, simulate
from support.steptimes import affine, constant
from support.strategies import cases, policies
from support.token_times import TokenTimes

Case = tuple[list[Program], EngineConfig]


@dataclass(frozen=True)
class SecondYields(Order):
    """Preempts the second turn of the batch, so those after it get nothing in that step."""

    def victim(self, running: Sequence[TurnView]) -> int:
        return min(1, len(running) - 1)


RULES = st.one_of(
    policies,
    st.just(Policy("oldest yields", order=OldestYields())),
    st.just(Policy("second yields", order=SecondYields())),
)


def rows(outcome: Outcome) -> list[float]:
    """Return every single gap, shortest first."""
    gaps = outcome.gaps
    return sorted(gap_s for gap_s, number in zip(gaps.gap_s, gaps.number, strict=True) for _ in range(number))


@contextmanager
def unless_turns_go_in_circles() -> Iterator[None]:
    """Pass over a case in which the rule lets turns preempt one another for ever."""
    try:
        yield
    except PolicyError as error:
        assume("for ever" not in str(error))
        raise


@settings(max_examples=25)
@given(case=cases(), policy=RULES)
def test_with_equal_steps_they_are_those_of_the_tokens(case: Case, policy: str | Policy) -> None:
    programs, config = case
    watch = TokenTimes()
    with unless_turns_go_in_circles():
        stepwise = simulate(programs, policy, config=config, step_time=constant(0.125), observer=watch)
    fast = simulate(programs, policy, config=config, step_time=constant(0.125), stepwise=False)
    assert rows(stepwise) == pytest.approx(watch.gaps_s(), rel=1e-9)
    assert rows(fast) == pytest.approx(watch.gaps_s(), rel=1e-9)


@settings(max_examples=15)
@given(case=cases(), policy=RULES, stepwise=st.booleans())
def test_with_other_steps_their_number_and_sum_are(case: Case, policy: str | Policy, stepwise: bool) -> None:
    programs, config = case
    with unless_turns_go_in_circles():
        outcome = simulate(programs, policy, config=config, step_time=affine(), stepwise=stepwise)
    assert_gaps_are_those_of_turns(outcome)


def test_a_turn_left_out_of_a_step_waits_for_its_token() -> None:
    # All have 4 tokens at 2 s and need a second block, and one is free. a takes it, b gives up its own and is first
    # in the queue, and c is left out: its tokens come at 1, 2, 4, … s.
    programs = [program("a", turn(3, 3)), program("b", turn(3, 3)), program("c", turn(3, 4))]
    watch = TokenTimes()
    outcome = simulate(
        programs, Policy("second yields", order=SecondYields()), config=engine(4), step_time=constant(), observer=watch
    )
    assert watch.times_s["c", 0] == [1.0, 2.0, 4.0, 5.0]
    assert watch.times_s["a", 0] == [1.0, 2.0, 3.0]
    assert watch.times_s["b", 0] == [1.0, 2.0, 4.0]
    assert rows(outcome) == watch.gaps_s() == [1.0] * 5 + [2.0] * 2


def test_a_turn_left_out_when_its_last_token_was_under_way_waits_for_none() -> None:
    # Steps are planned one ahead. At 2 s the fourth is planned: a takes the last block, b gives up its own, and c is
    # left out, whose only token is that of the third, which ends at 3 s. b has its last token with the fifth, at 5 s.
    programs = [program("a", turn(2, 4)), program("b", turn(2, 4)), program("c", turn(3, 1), at=0.5)]
    watch = TokenTimes()
    outcome = simulate(
        programs,
        Policy("second yields", order=SecondYields()),
        config=replace(engine(4), async_scheduling=True),
        step_time=constant(),
        observer=watch,
    )
    assert watch.times_s["c", 0] == [3.0]
    assert watch.times_s["b", 0] == [1.0, 2.0, 3.0, 5.0]
    assert rows(outcome) == watch.gaps_s() == [1.0] * 5 + [2.0]
