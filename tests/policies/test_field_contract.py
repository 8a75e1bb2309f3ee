"""What the host promises to rules: one gate per engine, orders that age, reviews, and what is counted."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest

from continuum_sim.policies import PRESETS, Admission, Order, Policy, Retention, Review
from continuum_sim.policies.planes import Decision, PinFor
from continuum_sim.policies.views import Moment, ProgramView, TurnView
from continuum_sim.world.simulation import SimulationError
from support.governed import Governed
from support.programs import engine, program, turn
from support.rules import Reviewed
from support.runs import simulate

CROWD = [program(f"p{i}", *(turn(40 + 6 * t, 3, gap=0.7) for t in range(4)), at=0.3 * i) for i in range(6)]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_one_policy_object_serves_any_number_of_runs(name: str) -> None:
    policy = PRESETS[name].build()
    first = simulate(CROWD, policy, config=engine(45), stepwise=False)
    again = simulate(CROWD, pickle.loads(pickle.dumps(policy)), config=engine(45), stepwise=False)
    once_more = simulate(CROWD, policy, config=engine(45), stepwise=False)
    assert first.programs == again.programs == once_more.programs
    assert len(first.programs) == len(CROWD)
    assert "object at 0x" not in str(policy.describe())


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_explain_themselves(name: str) -> None:
    preset = PRESETS[name]
    assert preset.rule
    assert preset.source
    assert all(parameter.help for parameter in preset.parameters)


@dataclass(frozen=True)
class Closed(Admission):
    steady: ClassVar[bool] = True

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        return False


def test_a_gate_that_never_opens_is_named() -> None:
    with pytest.raises(SimulationError, match="policy 'shut' is stuck with 1 unfinished programs"):
        simulate([program("p", turn(8, 2))], Policy("shut", admission=Closed()), config=engine(9))


@dataclass(frozen=True)
class LongestWaitAfterAWhile(Order):
    """Latest first, until a turn has waited 10 s and goes to the front. Does not say when keys change."""

    time_varying: ClassVar[bool] = True

    def key(self, turn: TurnView, now_s: float) -> Any:
        return (now_s < turn.arrival_s + 10, -turn.arrival_s)


@pytest.mark.parametrize("stepwise", [True, False])
def test_an_order_may_change_with_time_alone(stepwise: bool) -> None:
    programs = [
        program("busy", turn(8, 12), at=0.0),
        program("old", turn(8, 2), at=1.5),
        program("young", turn(8, 2), at=4.0),
    ]
    policy = Policy("ageing", order=LongestWaitAfterAWhile())
    run = simulate(programs, policy, config=engine(30, seqs=1), stepwise=stepwise)
    assert run.of("old").scheduled_s == 12
    programs[0] = program("busy", turn(8, 11), at=0.0)
    run = simulate(programs, policy, config=engine(30, seqs=1), stepwise=stepwise)
    assert run.of("young").scheduled_s == 11


@dataclass(frozen=True)
class UntilNoon(Reviewed):
    """Pins without expiry, and gives the pins up at the first step after 12 s."""

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        return Review(pinned, float("inf")) if moment.now_s >= 12 else Review((), 12.0)


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_review_happens_in_time(stepwise: bool) -> None:
    programs = [program("p", turn(8, 2, gap=50.0), turn(12, 2), at=0.0), program("q", turn(8, 30), at=0.0)]
    run = simulate(programs, Policy("noon", retention=UntilNoon()), config=engine(30), stepwise=stepwise)
    assert [(round(time_s), who) for _, time_s, who, _ in run.events("expire")] == [(12, "p")]
    assert run.totals.counts.pins_expired == 1


def test_a_held_turn_counts_once_however_often_it_is_asked_about() -> None:
    bench = Governed(Policy("shut", admission=Closed()))
    held = bench.arrive("p", 0.0)
    assert not any(bench.allows(held, float(at)) for at in range(9))
    assert bench.governor.counts.holds == 1


def test_views_tell_service_waiting_and_cycles() -> None:
    bench = Governed("lru")
    first = bench.arrive("p", 0.0)
    bench.governor.turn_admitted(first, 0, 2.0)
    bench.governor.turn_preempted(first, 5.0)
    assert not first.running
    bench.governor.turn_admitted(first, 0, 9.0)
    assert first.running
    bench.end(first, 10.0)
    view = first.program
    assert (view.service_s, view.waited_s, view.last_service_s, view.turn) == (4.0, 6.0, 4.0, None)
    second = bench.run("p", 13.0)
    assert view.turn is second
    assert list(view.cycles) == [(4.0, 3.0)]


@dataclass(frozen=True)
class UntilTwoWait(Retention):
    """Pins without expiry, and gives the pins up when two turns wait, which happens without any block moving."""

    steady: ClassVar[bool] = True

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        return PinFor(float("inf"))

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        return Review(pinned if moment.engine.num_waiting >= 2 else (), float("inf"))


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_review_sees_a_turn_that_queues_behind_others(stepwise: bool) -> None:
    programs = [
        program("p", turn(8, 2, gap=50.0), turn(12, 2), at=0.0),
        program("q", turn(8, 30), at=2.0),
        program("first", turn(8, 2), at=4.5),
        program("second", turn(8, 2), at=6.5),
    ]
    run = simulate(programs, Policy("two", retention=UntilTwoWait()), config=engine(30, seqs=1), stepwise=stepwise)
    assert [(time_s, who) for _, time_s, who, _ in run.events("expire")] == [(7.0, "p")]
