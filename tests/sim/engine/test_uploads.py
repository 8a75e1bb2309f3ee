"""Contexts brought back ahead of their programs' turns, worked out by hand (blocks of 4 tokens, steps of 1 s)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.chain import Chain
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.request import Context
from continuum_sim.policies import Decision, Fate, PinFor, Policy, Retention, Review
from continuum_sim.policies.parts.soft_pins import SoftPins
from continuum_sim.policies.views import Moment, ProgramView
from continuum_sim.traces.schema import Program
from support.compare import assert_same_runs
from support.invariants import InvariantObserver
from support.programs import engine, program, turn
from support.rules import Reviewed
from support.runs import Outcome, simulate
from support.steptimes import affine, constant
from support.strategies import cases, engines, tiered, traces


@dataclass(frozen=True)
class After(Retention):
    """Offloads every context and wants it back `after_s` seconds later, at most `at_most` contexts in a step."""

    offloads: ClassVar[bool] = True
    recalls: ClassVar[bool] = True
    steady: ClassVar[bool] = True

    after_s: float = 5.0
    at_most: int | None = None

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        return Fate.OFFLOAD

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        at_s = {p: (p.turn_end_s or 0.0) + self.after_s for p in away}
        due = [p for p in away if moment.now_s >= at_s[p] - 1e-9]
        again_s = min((at_s[p] for p in away if p not in due), default=float("inf"))
        return Review(again_s=again_s, bring=due[: self.at_most])


@dataclass(frozen=True)
class AfterBesidePins(SoftPins):
    """As `After` for every other program from the first on; soft pins for the contexts of the others."""

    offloads: ClassVar[bool] = True
    recalls: ClassVar[bool] = True

    after_s: float = 5.0

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        return PinFor(float("inf")) if program.seq % 2 else Fate.OFFLOAD

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        return After(self.after_s).review(pinned, away, moment)


@dataclass(frozen=True)
class OneByOne(Reviewed):
    """Gives up every pin, one per step."""

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        return Review(pinned[:1], float("inf"))


A = program("a", turn(17, 1, gap=10.0), turn(18, 1))
"""Parks 4 blocks from 1 to 11 s."""
FULL = program("full", turn(40, 1), at=1.0)
"""Takes all 10 blocks from 1 to 2 s."""


def above(usable: int = 10, block_s: float = 0.25) -> EngineConfig:
    return replace(engine(usable), tiers=TierConfig(20, block_s, reload="always"))


def run(
    programs: list[Program],
    *,
    stepwise: bool,
    config: EngineConfig | None = None,
    after_s: float = 5,
    rule: Retention | None = None,
) -> Outcome:
    config = above() if config is None else config
    policy = Policy("after", retention=After(after_s) if rule is None else rule)
    return simulate(programs, policy, config=config, stepwise=stepwise, observer=InvariantObserver(config))


both = pytest.mark.parametrize("stepwise", [True, False])


@both
def test_an_idle_engine_wakes_up_for_it_and_the_turn_finds_a_pin(stepwise: bool) -> None:
    outcome = run([A, FULL], stepwise=stepwise)
    assert outcome.events("offload", "recall", "pin", "admit")[1:] == [
        ("offload", 1.0, "a", 0),
        ("admit", 1.0, "full", 0),
        ("recall", 6.0, "a", 0),
        ("pin", 7.0, "a", 0),
        ("admit", 11.0, "a", 1),
    ]
    back = outcome.of("a", 1)
    assert (back.cached_tokens, back.reloaded_tokens, back.reload_s, back.scheduled_s) == (16, 0, 0.0, 11.0)
    assert outcome.totals.counts.pins_hit == 1
    assert (outcome.totals.counts.offloads, outcome.totals.counts.recalls) == (1, 1)


@both
def test_a_busy_engine_begins_with_the_step_after_its_time(stepwise: bool) -> None:
    busy = program("busy", turn(3, 30), at=2.5)
    outcome = run([A, FULL, busy], stepwise=stepwise)
    assert outcome.events("recall", "pin") == [("recall", 6.5, "a", 0), ("pin", 7.5, "a", 0)]


@both
def test_a_turn_that_comes_before_its_context_waits_for_the_rest_alone(stepwise: bool) -> None:
    outcome = run([A, FULL], stepwise=stepwise, after_s=9.5)
    back = outcome.of("a", 1)
    assert outcome.events("recall", "admit", "reload", "pin")[-3:] == [
        ("recall", 10.5, "a", 0),
        ("admit", 11.0, "a", 1),
        ("reload", 11.0, "a", 1),
    ]
    assert (back.cached_tokens, back.reloaded_tokens, back.reload_s, back.scheduled_s) == (0, 16, 0.5, 11.5)
    assert outcome.totals.tiers[0].read_blocks == 4, "nothing is moved twice"


@both
def test_what_is_still_cached_is_held_and_not_moved(stepwise: bool) -> None:
    outcome = run([A, program("part", turn(32, 1), at=1.0)], stepwise=stepwise)
    # 8 of 10 blocks go to "part", which leaves a's first two.
    assert outcome.totals.tiers[0].read_blocks == 2
    assert outcome.of("a", 1).cached_tokens == 16


@both
@pytest.mark.parametrize(("kept", "cached"), [(9, 8), (3, 0)])
def test_what_the_next_prompt_does_not_hold_is_given_up_on_the_way(kept: int, cached: int, stepwise: bool) -> None:
    a = program("a", turn(17, 1, gap=10.0), turn(18, 1, kept=kept))
    outcome = run([a, FULL], stepwise=stepwise, after_s=9.5)
    back = outcome.of("a", 1)
    assert back.reloaded_tokens == cached
    assert back.computed_tokens == 18 - cached


@both
def test_without_room_it_waits_until_there_is_some(stepwise: bool) -> None:
    # 9 of 10 blocks are taken from 3 to 8 s, and a needs 4.
    hog = program("hog", turn(33, 5), at=3.0)
    outcome = run([A, FULL, hog], stepwise=stepwise)
    assert outcome.events("recall", "pin") == [("recall", 8.0, "a", 0), ("pin", 9.0, "a", 0)]


@both
def test_room_that_a_growing_turn_leaves_of_a_broken_pin_is_taken_in_the_next_step(stepwise: bool) -> None:
    # a, due at 6 s, needs 4 blocks; b pins 5 and c holds the rest. At 10 s c needs its sixth, which breaks b's pin and
    # leaves 4. c goes on to 13 s in steps that are all alike.
    a, b = program("a", turn(17, 1, gap=20.0), turn(18, 1)), program("b", turn(20, 1, gap=30.0), turn(21, 1))
    outcome = run([a, b, program("c", turn(12, 12), at=1.0)], stepwise=stepwise, rule=AfterBesidePins())
    assert outcome.events("break", "recall")[:2] == [("break", 10.0, "b", 0), ("recall", 11.0, "a", 0)]


@dataclass(frozen=True)
class GivesWay(SoftPins):
    """Gives every pin up as soon as a turn waits."""

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        return PinFor(float("inf"))

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        return Review(pinned if moment.engine.num_waiting else (), float("inf"))


@both
def test_a_rule_is_asked_about_an_arrival_although_the_budget_is_spent(stepwise: bool) -> None:
    # c's prompt takes what is left of the budget of 8 tokens, from 1 to 6 s all of it: nobody would look at late.
    a, c = program("a", turn(4, 1, gap=30.0), turn(5, 1)), program("c", turn(52, 1))
    config = replace(above(20), max_num_batched_tokens=8, max_num_seqs=8)
    outcome = run([a, c, program("late", turn(4, 1), at=3.5)], stepwise=stepwise, config=config, rule=GivesWay())
    assert outcome.events("expire") == [("expire", 4.0, "a", 0)]


@both
def test_a_rule_is_asked_again_in_the_step_after_it_had_its_way(stepwise: bool) -> None:
    parked = [program(name, turn(4, 1, gap=20.0), turn(5, 1)) for name in "ab"]
    busy = program("busy", turn(3, 10))
    one_by_one = run([*parked, busy], stepwise=stepwise, rule=OneByOne())
    assert one_by_one.events("expire") == [("expire", 1.0, "a", 0), ("expire", 2.0, "b", 0)]
    back = run([*parked, busy], stepwise=stepwise, rule=After(after_s=3.0, at_most=1))
    assert back.events("recall") == [("recall", 4.0, "a", 0), ("recall", 5.0, "b", 0)]


@both
def test_a_turn_that_lacks_room_does_not_take_what_is_on_its_way(stepwise: bool) -> None:
    # Until 6.5 s a's blocks are the target of a copy; then they are a pin's, which yields as nothing runs.
    late = program("late", turn(36, 1), at=6.25)
    outcome = run([A, FULL, late], stepwise=stepwise)
    assert outcome.events("pin", "break") == [("pin", 7.0, "a", 0), ("break", 7.0, "a", 0)]
    assert outcome.of("late").scheduled_s == 7.0


def test_what_came_back_has_left_host_memory() -> None:
    outcome = run([A, FULL], stepwise=False)
    assert outcome.simulation.scheduler.connector.tiers is not None
    assert outcome.simulation.scheduler.connector.tiers.dram.used_blocks == 0
    assert outcome.totals.tiers[0].peak_used_blocks == 4


# Any trace, engine and tiers --------------------------------------------------------------------------------


@st.composite
def tiered_cases(draw: st.DrawFn) -> tuple[list[Program], EngineConfig]:
    eighths = st.integers(0, 24).map(lambda k: k / 8)
    gaps = draw(st.sampled_from([None, eighths]))
    programs, config = draw(cases(gaps, gaps))
    return programs, draw(tiered(config))


late = st.sampled_from([0.0, 0.05, 0.25, 1.0])
rules = st.one_of(st.builds(After, late, st.sampled_from([None, 1])), st.builds(AfterBesidePins, late))


@settings(max_examples=8, deadline=None)
@given(case=tiered_cases(), rule=rules, seconds=st.sampled_from([None, 0.125]))
def test_jumps_and_single_steps_agree(
    case: tuple[list[Program], EngineConfig], rule: Retention, seconds: float | None
) -> None:
    programs, config = case
    runs = []
    for stepwise in (True, False):
        outcome = simulate(
            programs,
            Policy("after", retention=rule),
            config=config,
            step_time=affine() if seconds is None else constant(seconds),
            stepwise=stepwise,
            observer=InvariantObserver(config),
        )
        scheduler = outcome.simulation.scheduler
        assert scheduler.pool.free == config.usable_blocks
        assert not scheduler.connector.uploads
        runs.append(outcome)
    assert_same_runs(*runs)
    for done in runs[0].turns:
        if not done.preemptions:
            asked = next(p for p in programs if p.program_id == done.program).turns[done.turn]
            prefilled = done.computed_tokens - (asked.output_tokens - 1)
            assert prefilled + done.cached_tokens + done.reloaded_tokens == asked.input_tokens


@settings(max_examples=4, deadline=None)
@given(data=st.data(), after_s=st.sampled_from([0.0, 0.25, 1.0]), routing=st.sampled_from(["round-robin", "autellix"]))
def test_programs_may_leave_while_their_contexts_come(data: st.DataObject, after_s: float, routing: str) -> None:
    programs = data.draw(traces())
    first, other = (data.draw(tiered(data.draw(engines(programs)))) for _ in range(2))
    policy = Policy("after", retention=After(after_s))
    runs = [
        simulate(programs, policy, config=first, others=[other], routing=routing, step_time=affine(), stepwise=stepwise)
        for stepwise in (True, False)
    ]
    assert_same_runs(*runs)
    for replica in runs[1].simulation.cluster.replicas:
        assert replica.scheduler.pool.free == replica.scheduler.pool.num_blocks


def test_no_blocks_of_a_shared_prefix_are_no_part() -> None:
    """If all that is left of a context in host memory is cached anyway, nothing comes back, not an empty run."""
    context = Context(Chain(), 28)
    assert context.parts(1, 1) == []
    assert [part[1:] for part in context.parts(27, 30)] == [(27, 28), (28, 30)]
