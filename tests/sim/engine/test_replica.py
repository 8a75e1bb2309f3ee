"""The clock: instants, sleep, and engines whose programs are held back."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import simpy
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.engine.clock import Clock, instant_number
from continuum_sim.errors import ConfigError
from continuum_sim.policies import Admission, Policy, Review
from continuum_sim.policies.instants import SAME_INSTANT_S
from continuum_sim.policies.views import Moment, ProgramView, TurnView
from continuum_sim.world.simulation import SimulationError
from support.programs import engine, program, turn
from support.rules import Reviewed
from support.runs import simulate
from support.steptimes import constant

seconds = st.floats(0.0, 1e6)


@given(now_s=seconds, at_s=seconds)
def test_the_clock_reaches_an_instant_to_the_last_bit(now_s: float, at_s: float) -> None:
    clock = Clock(initial_time=now_s)
    clock.run(until=clock.instant(at_s))
    assert clock.now == max(now_s, instant_number(at_s) * SAME_INSTANT_S)


def test_what_happens_at_one_instant_keeps_its_order() -> None:
    clock = Clock()
    seen: list[str] = []

    def wait(name: str, event: simpy.Event) -> Generator[simpy.Event, Any, None]:
        yield event
        seen.append(name)

    # 0.1 + 0.2 is not 0.3 to a float.
    for name, event in (
        ("boundary", clock.boundary(0.3)),
        ("first", clock.instant(0.1 + 0.2)),
        ("second", clock.instant(0.3)),
        ("third", clock.instant(math.nextafter(0.3, 0.0))),
        ("next boundary", clock.boundary(0.300001)),
    ):
        clock.process(wait(name, event))
    clock.run()
    assert seen == ["first", "second", "third", "boundary", "next boundary"]


@pytest.mark.parametrize("stepwise", [True, False])
def test_turns_that_arrive_together_queue_in_the_order_their_programs_moved(stepwise: bool) -> None:
    # a ends its first turn at 0.3 s and b at 0.4 s; both tools return at 0.7 s, but 0.3 + 0.4 and 0.4 + 0.3 need
    # not be one number when 0.3 was added up in steps.
    a = program("a", turn(4, 3, gap=0.4), turn(8, 1))
    b = program("b", turn(4, 4, gap=0.3), turn(9, 1))
    outcome = simulate([a, b], config=engine(20, seqs=2), step_time=constant(0.1), stepwise=stepwise)
    assert [event[2] for event in outcome.events("arrive")] == ["a", "b", "a", "b"]


def test_no_turn_is_scheduled_before_it_arrives() -> None:
    # b arrives a hair after the boundary at 0.3 s and is still seen by the step that starts there.
    a = program("a", turn(4, 5))
    b = program("b", turn(4, 1), at=0.3 + 4e-10)
    outcome = simulate([a, b], config=engine(20), step_time=constant(0.1))
    record = outcome.of("b")
    assert record.scheduled_s == record.arrival_s
    assert record.finish_s == pytest.approx(0.4)


@dataclass(frozen=True)
class Shut(Admission):
    """Lets nothing in."""

    steady: ClassVar[bool] = True

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        return False


@dataclass(frozen=True)
class OpensLate(Admission):
    """Lets everything in from the second tick on."""

    steady: ClassVar[bool] = True
    period_s = 5.0

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        return moment.now_s >= 10.0 - 1e-6


@dataclass(frozen=True)
class ShutAtEveryTick(Shut):
    """Ticks every second but never opens."""

    period_s = 1.0


@pytest.mark.parametrize("gate", [Shut(), ShutAtEveryTick()])
@pytest.mark.parametrize("stepwise", [True, False])
def test_a_gate_that_never_opens_ends_the_run_with_its_name(stepwise: bool, gate: Admission) -> None:
    with pytest.raises(SimulationError, match="'shut' is stuck with 2 unfinished programs") as caught:
        simulate(
            [program("a", turn(4, 1)), program("b", turn(4, 1))],
            Policy("shut", admission=gate),
            config=engine(5),
            stepwise=stepwise,
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_sleeping_engine_wakes_for_the_gate(stepwise: bool) -> None:
    outcome = simulate(
        [program("a", turn(4, 1))], Policy("late", admission=OpensLate()), config=engine(5), stepwise=stepwise
    )
    assert outcome.of("a").scheduled_s == pytest.approx(10.0, abs=1e-8)
    assert outcome.totals.counts.holds == 1


@dataclass(frozen=True)
class OpensLateToOthers(OpensLate):
    """Lets the first program in at any time."""

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        return turn.program.seq == 0 or super().allows(turn, moment)


@dataclass(frozen=True)
class AskedAtEveryStep(Reviewed):
    """Keeps everything, but wants to be asked again at every step."""

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        return Review((), moment.now_s)


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_rule_that_is_asked_at_every_step_does_not_hide_the_gates_ticks(stepwise: bool) -> None:
    programs = [program("a", turn(4, 1, gap=30.0), turn(5, 1)), program("b", turn(4, 1), at=2.0)]
    policy = Policy("late", retention=AskedAtEveryStep(), admission=OpensLateToOthers())
    outcome = simulate(programs, policy, config=engine(5), stepwise=stepwise)
    assert outcome.of("b").scheduled_s == pytest.approx(10.0, abs=1e-8)


def test_a_program_that_can_never_fit_is_refused_by_name() -> None:
    fits = program("fits", turn(16, 5))
    with pytest.raises(ConfigError) as caught:
        simulate([fits, program("big", turn(18, 4))], config=engine(5))
    assert "'big'" in str(caught.value)
    assert "6 KV blocks" in str(caught.value)
    assert "\n" not in str(caught.value)
    outcome = simulate([fits, program("edge", turn(16, 5))], config=engine(5))
    assert len(outcome.programs) == 2, "20 of the 21 tokens have KV: 5 blocks"


def test_a_program_longer_than_the_model_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"'long'.* 21 tokens, above max_model_len 20"):
        simulate([program("long", turn(16, 5))], config=engine(50, max_model_len=20))
