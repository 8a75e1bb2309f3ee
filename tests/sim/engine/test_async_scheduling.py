"""Asynchronous scheduling: schedules worked out by hand, with steps of 1 s. A `Step` starts when it is planned."""

from __future__ import annotations

from dataclasses import replace

import pytest

import continuum_sim as cs
from continuum_sim.engine.config import EngineConfig
from continuum_sim.traces.schema import MAX_TOKENS_FINISH, Program
from support.programs import engine, program, turn
from support.runs import Outcome
from support.schedule import Step, schedule_of
from support.steptimes import constant


def planned_ahead(programs: list[Program], config: EngineConfig) -> tuple[list[Step], Outcome]:
    return schedule_of(programs, config=replace(config, async_scheduling=True))


def limited(one: Program) -> Program:
    """Let the token limit end every turn."""
    return replace(one, turns=tuple(replace(each, finish=MAX_TOKENS_FINISH) for each in one.turns))


def test_two_steps_are_planned_at_once_and_the_last_one_in_vain() -> None:
    steps, outcome = planned_ahead([program("a", turn(4, 3))], engine(8, block_size=4))
    assert [(step.start_s, step.batch, step.free) for step in steps] == [
        (0.0, {"a": 4}, 7),
        (0.0, {"a": 1}, 6),
        (1.0, {"a": 1}, 6),
        (2.0, {"a": 1}, 6),
    ]
    done = outcome.of("a")
    assert (done.first_token_s, done.finish_s, done.computed_tokens) == (1.0, 3.0, 4 + 2)
    assert (outcome.totals.end_s, outcome.totals.busy_s) == (4.0, 4.0)


def test_an_end_by_the_token_limit_is_foreseen() -> None:
    steps, outcome = planned_ahead([limited(program("a", turn(4, 3)))], engine(8, block_size=4))
    assert [(step.start_s, step.batch, step.free) for step in steps] == [
        (0.0, {"a": 4}, 7),
        (0.0, {"a": 1}, 6),
        (1.0, {"a": 1}, 6),
        (2.0, {}, 6),  # its seat and its blocks are still taken
    ]
    assert (outcome.of("a").finish_s, outcome.of("a").computed_tokens, outcome.totals.end_s) == (3.0, 4 + 2, 3.0)


@pytest.mark.parametrize(("asynchronous", "scheduled_s", "first_token_s"), [(False, 1.0, 2.0), (True, 1.0, 3.0)])
def test_an_arrival_is_seen_by_the_next_planning(asynchronous: bool, scheduled_s: float, first_token_s: float) -> None:
    agents = [program("a", turn(4, 9)), program("b", turn(4, 1), at=0.5)]
    _, outcome = schedule_of(agents, config=replace(engine(40, block_size=4), async_scheduling=asynchronous))
    assert (outcome.of("b").scheduled_s, outcome.of("b").first_token_s) == (scheduled_s, first_token_s)


@pytest.mark.parametrize(("gap_s", "starts_s"), [(0.0, 4.0), (0.5, 4.0), (1.5, 4.5)])
def test_the_next_turn_waits_for_the_step_planned_in_vain(gap_s: float, starts_s: float) -> None:
    agent = program("a", turn(4, 3, gap=gap_s), turn(8, 2))
    _, outcome = planned_ahead([agent], engine(8, block_size=4))
    assert outcome.of("a", 0).finish_s == 3.0
    assert outcome.of("a", 1).first_token_s == starts_s + 1.0
    _, foreseen = planned_ahead([limited(agent)], engine(8, block_size=4))
    assert foreseen.of("a", 1).first_token_s == 3.0 + gap_s + 1.0


def test_a_seat_is_taken_until_the_last_token_is_there() -> None:
    agents = [limited(program("a", turn(4, 2))), program("b", turn(4, 1))]
    steps, outcome = planned_ahead(agents, replace(engine(8, block_size=4), max_num_seqs=1))
    # a's second token is planned at 0 s and there at 2 s; at 1 s nothing can be planned beside it.
    assert [(step.start_s, step.batch) for step in steps][:4] == [
        (0.0, {"a": 4}),
        (0.0, {"a": 1}),
        (1.0, {}),
        (2.0, {"b": 4}),
    ]
    assert outcome.of("b").finish_s == 3.0


def test_a_preempted_turn_gets_the_token_that_is_on_its_way() -> None:
    # Each holds two of four blocks, which its eighth token fills; the ninth of a takes both from b.
    agents = [program("a", turn(7, 9)), program("b", turn(7, 2)), program("c", turn(4, 1), at=2.5)]
    steps, outcome = planned_ahead(agents, engine(4, block_size=4))
    assert [(step.start_s, step.batch, step.preempted) for step in steps][:4] == [
        (0.0, {"a": 7, "b": 7}, []),
        (0.0, {"a": 1, "b": 1}, []),
        (1.0, {"a": 1}, ["b"]),
        (2.0, {"a": 1}, []),  # b has ended while it waited
    ]
    done = outcome.of("b")
    assert (done.first_token_s, done.finish_s, done.preemptions, done.preempted_s) == (1.0, 2.0, 1, 0.0)
    assert outcome.of("c").first_token_s == 5.0, "planned at 3 s, after the step of a that was planned at 2 s"


def test_a_resumed_turn_computes_its_late_token_again() -> None:
    agents = [program("a", turn(7, 3)), program("b", turn(7, 4))]
    steps, outcome = planned_ahead(agents, engine(4, block_size=4))
    # Preempted at 1 s with one token known and one to come: 9 tokens are to be computed when a has ended at 3 s.
    assert (1.0, ["b"]) in [(step.start_s, step.preempted) for step in steps]
    resumed = next(step for step in steps if step.start_s >= 2.0 and "b" in step.admitted)
    assert (resumed.start_s, resumed.admitted, resumed.batch) == (3.0, {"b": 4}, {"b": 5})
    assert outcome.of("b").preempted_s == pytest.approx(outcome.of("b").finish_s - 1.0 - 2.0)


def test_a_turn_that_fills_the_longest_context_ends_there() -> None:
    config = replace(engine(8, block_size=4), max_model_len=7)
    steps, _ = planned_ahead([program("a", turn(4, 3))], config)
    assert [step.batch for step in steps] == [{"a": 4}, {"a": 1}, {"a": 1}, {}]


def test_a_run_plans_ahead_if_asked_to() -> None:
    agents = [program("a", turn(40, 9, gap=0.5), turn(60, 9), at=None)]
    jct_s = [
        cs.run(agents, "lru", arrivals="burst", step_time=constant(), async_scheduling=ahead).summary.jct_s.mean
        for ahead in (False, True)
    ]
    assert jct_s == [9 + 0.5 + 9, 9 + 1 + 9]
