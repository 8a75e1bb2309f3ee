"""Pins: which blocks they keep, when they end and which turns wait for them (blocks of 4 tokens, steps of 1 s)."""

from __future__ import annotations

import pytest

from support.programs import engine, program, turn
from support.runs import simulate
from support.schedule import Step, schedule_of

RUNNER = program("c", turn(3, 6))
"""Runs from 0 to 6 s and computes 3, 4, … 8 tokens: one block for two steps, then two."""


def test_a_pin_keeps_a_context_while_another_program_wants_its_room() -> None:
    a = program("a", turn(8, 1, gap=10.0), turn(9, 1))
    b = program("b", turn(12, 1), at=2.0)
    steps, outcome = schedule_of([RUNNER, a, b], "ttl-static:ttl=20", config=engine(6))
    assert steps == [
        Step(0.0, {"c": 3, "a": 8}, 3, {"c": 0, "a": 0}),
        Step(1.0, {"c": 1}, 3),
        *(Step(float(k), {"c": 1}, 2) for k in range(2, 6)),
        Step(6.0, {"b": 12}, 1, {"b": 0}),
        Step(11.0, {"a": 1}, 3, {"a": 8}),
    ]
    counts = outcome.totals.counts
    assert (counts.pins_made, counts.pins_hit, counts.pins_expired, counts.pins_broken) == (1, 1, 0, 0)
    assert counts.pinned_block_seconds == 2 * 10.0

    plain, without = schedule_of([RUNNER, a, b], "lru", config=engine(6))
    assert plain[2] == Step(2.0, {"c": 1, "b": 12}, 1, {"b": 0})
    assert without.of("a", 1).cached_tokens == 4, "b took the tail of a's context"


PRESSURES = ["head", "deadlock", "younger"]


@pytest.mark.parametrize(("pressure", "starts_s"), list(zip(PRESSURES, [2.0, 6.0, 6.0], strict=True)))
def test_pressure_of_a_newcomer(pressure: str, starts_s: float) -> None:
    # b is the latest program: under `younger` it may not displace a, under `deadlock` nobody while c runs.
    a = program("a", turn(8, 1, gap=10.0), turn(9, 1))
    b = program("b", turn(12, 1), at=2.0)
    _, outcome = schedule_of([RUNNER, a, b], f"ttl-static:ttl=20,pressure={pressure}", config=engine(6))
    assert outcome.of("b").scheduled_s == starts_s
    assert outcome.events("break") == ([("break", 2.0, "a", 0)] if pressure == "head" else [])


@pytest.mark.parametrize(("pressure", "starts_s"), list(zip(PRESSURES, [3.0, 6.0, 3.0], strict=True)))
def test_pressure_of_an_older_program(pressure: str, starts_s: float) -> None:
    # o comes back at 3 s and needs 3 blocks beside its own pinned one; 2 are free and y, younger, pins 2.
    o = program("o", turn(4, 1, gap=2.0), turn(16, 1))
    y = program("y", turn(8, 1, gap=30.0), turn(9, 1))
    _, outcome = schedule_of([o, RUNNER, y], f"ttl-static:ttl=50,pressure={pressure}", config=engine(7))
    assert outcome.of("o", 1).scheduled_s == starts_s
    assert outcome.of("o", 1).cached_tokens == 4
    assert outcome.events("break") == ([("break", 3.0, "y", 0)] if starts_s == 3.0 else [])


@pytest.mark.parametrize("pressure", PRESSURES)
def test_when_nothing_runs_every_rule_breaks_pins(pressure: str) -> None:
    a = program("a", turn(8, 1, gap=50.0), turn(9, 1))
    b = program("b", turn(16, 1), at=3.0)
    steps, outcome = schedule_of([a, b], f"ttl-static:ttl=90,pressure={pressure}", config=engine(5))
    assert steps[1] == Step(3.0, {"b": 16}, 1, {"b": 0})
    assert outcome.events("break") == [("break", 3.0, "a", 0)]
    assert outcome.of("a", 1).cached_tokens == 4, "a's tail went to b, the block before it was left"


def test_pins_break_latest_program_first_and_no_more_than_needed() -> None:
    programs = [program(name, turn(4, 1, gap=50.0), turn(5, 1)) for name in "xyz"]
    newcomer = program("n", turn(20, 1), at=3.0)
    _, outcome = schedule_of([*programs, newcomer], "pin-forever", config=engine(6))
    assert [name for _, _, name, _ in outcome.events("break")] == ["z", "y"]
    assert outcome.of("n").scheduled_s == 3.0


def test_a_pin_ends_with_the_first_step_after_its_time() -> None:
    # Made at 1 s for 2.5 s: the step at 3 s still finds it, the one at 4 s ends it.
    runner = program("c", turn(3, 8))
    a = program("a", turn(4, 1, gap=6.0), turn(5, 1))
    steps, outcome = schedule_of([runner, a], "ttl-static:ttl=2.5", config=engine(5))
    assert [(step.start_s, step.free) for step in steps] == [
        (0.0, 3), (1.0, 3), (2.0, 2), (3.0, 2), (4.0, 3), (5.0, 3), (6.0, 2), (7.0, 0),
    ]  # fmt: skip
    assert outcome.events("pin", "expire") == [("pin", 1.0, "a", 0), ("expire", 4.0, "a", 0)]
    assert outcome.of("a", 1).cached_tokens == 4, "an expired context is cached until someone takes its blocks"
    assert outcome.totals.counts.pinned_block_seconds == 3.0


def test_a_pin_does_not_end_while_the_engine_sleeps() -> None:
    a = program("a", turn(4, 1, gap=10.0), turn(5, 1))
    _, outcome = schedule_of([a], "ttl-static:ttl=2.5", config=engine(5))
    assert outcome.totals.counts.pins_hit == 1
    assert outcome.totals.counts.pins_expired == 0


@pytest.mark.parametrize("ttl", [3.0, 2.999])
def test_a_turn_that_comes_back_before_the_next_step_finds_its_pin(ttl: float) -> None:
    # The pin ends at 4 s or just before, the turn comes back at 4 s, and no step starts in between.
    a = program("a", turn(4, 1, gap=3.0), turn(5, 1))
    _, outcome = schedule_of([RUNNER, a], f"ttl-static:ttl={ttl}", config=engine(5))
    assert (outcome.totals.counts.pins_hit, outcome.totals.counts.pins_expired) == (1, 0)


def test_a_pin_does_not_end_while_its_turn_waits() -> None:
    # a comes back at 3 s, its pin would end at 3.5 s, and c holds the only seat until 7 s.
    a = program("a", turn(4, 1, gap=2.0), turn(5, 1))
    c = program("c", turn(3, 6), at=0.5)
    steps, outcome = schedule_of([a, c], "ttl-static:ttl=2.5", config=engine(5, seqs=1))
    assert [step.free for step in steps if step.batch == {"c": 1}] == [3, 2, 2, 2, 2]
    assert steps[-1] == Step(7.0, {"a": 1}, 3, {"a": 4})
    assert (outcome.totals.counts.pins_hit, outcome.totals.counts.pins_expired) == (1, 0)
    assert outcome.totals.counts.pinned_block_seconds == 6.0


def test_turns_with_a_live_pin_go_before_older_programs() -> None:
    # x's pin ended at 4 s, a's did not because a was back already; x is the older program.
    x = program("x", turn(4, 1, gap=5.0), turn(5, 1))
    a = program("a", turn(4, 1, gap=2.0), turn(5, 1), at=0.5)
    c = program("c", turn(3, 8), at=1.5)
    config = engine(10, seqs=1)
    _, pinned = schedule_of([x, a, c], "ttl-static:ttl=2.5", config=config)
    assert pinned.events("expire") == [("expire", 4.0, "x", 0)]
    assert [(t.program, t.scheduled_s) for t in pinned.turns[3:]] == [("a", 10.0), ("x", 11.0)]
    _, plain = schedule_of([x, a, c], "program-fifo", config=config)
    assert [(t.program, t.scheduled_s) for t in plain.turns[3:]] == [("x", 10.0), ("a", 11.0)]


def test_a_waiting_turn_whose_pin_breaks_goes_back_in_line() -> None:
    # One seat, held by c until 13 s. x and z wait with pins; w, older than z, lost its own at 8 s. x needs the room
    # of z's pin; without it z has no right to go before w.
    x = program("x", turn(4, 1, gap=4.0), turn(28, 1))
    w = program("w", turn(4, 1, gap=7.0), turn(5, 1))
    z = program("z", turn(8, 1, gap=2.0), turn(9, 1))
    c = program("c", turn(3, 10), at=3.0)
    _, outcome = schedule_of([x, w, z, c], "ttl-static:ttl=5.5", config=engine(8, seqs=1))
    assert outcome.events("expire", "break") == [("expire", 8.0, "w", 0), ("break", 13.0, "z", 0)]
    assert [(t.program, t.scheduled_s) for t in outcome.turns[4:]] == [("x", 13.0), ("w", 14.0), ("z", 15.0)]


def test_what_a_returning_turn_cannot_use_of_its_pin_is_freed_at_once() -> None:
    # a comes back at 3.5 s keeping 6 of its 12 pinned tokens: one block stays pinned, two are free at 4 s.
    a = program("a", turn(12, 1, gap=2.5), turn(14, 1, kept=6))
    c = program("c", turn(3, 6), at=0.5)
    steps, outcome = schedule_of([a, c], "pin-forever", config=engine(8, seqs=1))
    assert [(step.start_s, step.free) for step in steps] == [
        (0.0, 5), (1.0, 4), (2.0, 4), (3.0, 3), (4.0, 5), (5.0, 5), (6.0, 5), (7.0, 4),
    ]  # fmt: skip
    assert steps[-1].admitted == {"a": 4}
    assert outcome.totals.counts.pinned_block_seconds == 3 * 2.5 + 1 * 3.5
    assert outcome.simulation.scheduler.pinned_blocks == 0


def test_the_block_that_a_full_hit_computes_again_is_freed_at_once() -> None:
    # a comes back at 3.5 s with a prompt of exactly its 12 pinned tokens, and will compute the last 4 again.
    a = program("a", turn(12, 1, gap=2.5), turn(12, 1, kept=12))
    c = program("c", turn(3, 6), at=0.5)
    steps, _ = schedule_of([a, c], "pin-forever", config=engine(8, seqs=1))
    assert [(step.start_s, step.free) for step in steps[3:]] == [(3.0, 3), (4.0, 4), (5.0, 4), (6.0, 4), (7.0, 5)]
    assert steps[-1].admitted == {"a": 8}


@pytest.mark.parametrize("stepwise", [True, False])
def test_what_a_returning_turn_frees_lets_another_one_in(stepwise: bool) -> None:
    # b needs 3 blocks and finds 2 beside c and a's pin. a comes back at 5.5 s, behind b, and keeps one block of its
    # three: b enters with the next step.
    a = program("a", turn(12, 1, gap=4.5), turn(8, 1, kept=4))
    c = program("c", turn(3, 20))
    b = program("b", turn(12, 1), at=2.0)
    policy = "order=arrival,retention=pin-forever"
    outcome = simulate([a, c, b], policy, config=engine(7), stepwise=stepwise)
    assert outcome.of("b").scheduled_s == 6.0
    assert outcome.totals.counts.pins_broken == 0


def test_a_running_turn_that_lacks_a_block_yields_before_pins_do() -> None:
    # b needs a fourth block at 7 s; it is the last running turn and preempts itself. Nothing runs then, so the
    # next step (at once) breaks a's pin for it. Its own three blocks are still there.
    a = program("a", turn(8, 1, gap=50.0), turn(9, 1))
    b = program("b", turn(8, 6), at=2.0)
    steps, outcome = schedule_of([a, b], "pin-forever", config=engine(5))
    assert steps[1:8] == [
        Step(2.0, {"b": 8}, 1, {"b": 0}),
        *(Step(float(k), {"b": 1}, 0) for k in range(3, 7)),
        Step(7.0, {}, 3, {}, ["b"]),
        Step(7.0, {"b": 1}, 1, {"b": 12}),
    ]
    assert outcome.of("b").finish_s == 8.0
    assert outcome.events("break", "preempt") == [("preempt", 7.0, "b", 0), ("break", 7.0, "a", 0)]


def test_a_pin_that_its_own_turn_cannot_use_does_not_stop_the_engine() -> None:
    # Turn 2 keeps exactly 12 tokens and computes its last block again: a second copy, which is what gets pinned.
    # Turn 3 finds the first copy, so the pinned one is of no use to it, and it needs all 5 blocks.
    a = program("a", turn(10, 3, gap=1.0), turn(12, 2, kept=12, gap=1.0), turn(20, 1, kept=14))
    steps, outcome = schedule_of([a], "pin-forever", config=engine(5))
    assert steps[-1] == Step(7.0, {"a": 8}, 0, {"a": 12})
    assert outcome.totals.counts.pins_broken == 1


def test_alone_beside_pins_a_turn_enters_whole_or_not_at_all() -> None:
    # Blocks of 8. b's first chunks fit beside a's pin, its prompt of 20 does not. Admitted by its first chunk it would
    # lack a third block at 18 tokens, preempt itself, find one block cached, enter again by the same chunks, and so on.
    a = program("a", turn(16, 1, gap=90.0), turn(17, 1))
    b = program("b", turn(20, 1), at=8.0)
    config = engine(4, block_size=8, budget=3, reserve=False)
    _, outcome = schedule_of([a, b], "pin-forever", config=config)
    assert outcome.events("break") == [("break", 8.0, "a", 0)]
    assert (outcome.of("b").scheduled_s, outcome.of("b").finish_s) == (8.0, 15.0)
    assert outcome.totals.preemptions == 0


def test_a_program_of_one_block_is_pinned_and_one_of_none_is_not() -> None:
    one = program("one", turn(4, 1, gap=1.0), turn(5, 1))
    none = program("none", turn(3, 1, gap=1.0), turn(4, 1))
    _, outcome = schedule_of([one, none], "pin-forever", config=engine(5))
    assert outcome.events("pin", "release") == [
        ("pin", 1.0, "one", 0),
        ("release", 1.0, "none", 0),
        ("release", 3.0, "one", 1),
        ("release", 3.0, "none", 1),
    ]
