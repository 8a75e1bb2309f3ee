"""Recompute preemption: schedules worked out by hand (blocks of 4 tokens, steps of 1 s)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from continuum_sim.policies import Order, Policy
from continuum_sim.policies.views import TurnView
from support.programs import engine, program, turn
from support.schedule import Step, schedule_of


def test_the_last_running_turn_is_preempted_and_resumes() -> None:
    # Both enter; at 1 s both need a third block and one is free. b gives up its two, which stay cached, and
    # comes back (9 tokens: the prompt and one sampled) when three blocks are free. By then a has taken b's tail.
    a, b = program("a", turn(8, 6)), program("b", turn(8, 3))
    steps, outcome = schedule_of([a, b], config=engine(5))
    assert steps == [
        Step(0.0, {"a": 8, "b": 8}, 1, {"a": 0, "b": 0}),
        Step(1.0, {"a": 1}, 2, {}, ["b"]),
        Step(2.0, {"a": 1}, 2),
        Step(3.0, {"a": 1}, 2),
        Step(4.0, {"a": 1}, 2),
        Step(5.0, {"a": 1}, 1),
        Step(6.0, {"b": 5}, 2, {"b": 4}),
        Step(7.0, {"b": 1}, 2),
    ]
    resumed = outcome.of("b")
    assert (resumed.scheduled_s, resumed.first_token_s, resumed.finish_s) == (0.0, 1.0, 8.0)
    assert (resumed.cached_tokens, resumed.recomputed_tokens, resumed.preemptions) == (0, 4, 1)
    assert resumed.computed_tokens == 8 + 5 + 1
    assert outcome.totals.preemptions == 1
    # From 1 s, when it is preempted, to its next token at 7 s; one step of decoding is left.
    assert resumed.preempted_s == 6.0
    (b_whole,) = (record for record in outcome.programs if record.program == "b")
    assert (b_whole.queue_s, b_whole.prefill_s, b_whole.decode_s, b_whole.preempted_s) == (0.0, 1.0, 1.0, 6.0)


def test_nothing_is_admitted_in_a_step_that_preempts() -> None:
    # c would fit into the blocks that b gives up at 1 s, but enters a step later, behind b.
    a, b = program("a", turn(8, 6)), program("b", turn(8, 3))
    c = program("c", turn(4, 1), at=0.5)
    steps, outcome = schedule_of([a, b, c], config=engine(5))
    assert steps[1] == Step(1.0, {"a": 1}, 2, {}, ["b"])
    assert outcome.of("c").scheduled_s == outcome.of("b").finish_s - 2, "c waits behind b, which was preempted"


def test_a_preempted_turn_goes_to_the_front_of_the_queue() -> None:
    # c waits for a seat when b is preempted; b is in front of it afterwards.
    a, b, c = program("a", turn(8, 6)), program("b", turn(8, 3)), program("c", turn(4, 1))
    steps, _ = schedule_of([a, b, c], config=engine(5, seqs=2))
    assert [list(step.batch) for step in steps] == [["a", "b"], ["a"], ["a"], ["a"], ["a"], ["a"], ["b", "c"], ["b"]]


def test_turns_are_preempted_from_the_back_until_the_first_one_fits() -> None:
    # At 1 s a, b and c have one full block each and none is free. a takes what c gives up; b then preempts
    # itself, being the last.
    programs = [program(name, turn(4, 4)) for name in "abc"]
    steps, outcome = schedule_of(programs, config=engine(3))
    assert steps == [
        Step(0.0, {"a": 4, "b": 4, "c": 4}, 0, {"a": 0, "b": 0, "c": 0}),
        Step(1.0, {"a": 1}, 1, {}, ["c", "b"]),
        Step(2.0, {"a": 1}, 1),
        Step(3.0, {"a": 1}, 1),
        # b is in front: it was preempted last. Its own block was not touched, c's tail is a's second block.
        Step(4.0, {"b": 1}, 1, {"b": 4}),
        Step(5.0, {"b": 1}, 1),
        Step(6.0, {"b": 1}, 1),
        Step(7.0, {"c": 5}, 1, {"c": 0}),
        Step(8.0, {"c": 1}, 1),
        Step(9.0, {"c": 1}, 1),
    ]
    assert outcome.totals.preemptions == 2


def test_a_turn_preempted_in_mid_prefill_finds_its_chunks_again() -> None:
    # b's prompt enters in chunks of 3 beside a, without the full-prompt check; a's growth throws it out.
    a, b = program("a", turn(4, 7)), program("b", turn(9, 1))
    steps, outcome = schedule_of([a, b], config=engine(4, budget=4, reserve=False))
    assert steps == [
        Step(0.0, {"a": 4}, 3, {"a": 0}),
        Step(1.0, {"a": 1, "b": 3}, 1, {"b": 0}),
        Step(2.0, {"a": 1, "b": 3}, 0),
        Step(3.0, {"a": 1}, 2, {}, ["b"]),
        Step(4.0, {"a": 1, "b": 3}, 0, {"b": 4}),
        Step(5.0, {"a": 1}, 1, {}, ["b"]),
        Step(6.0, {"a": 1}, 1),
        Step(7.0, {"b": 4}, 2, {"b": 4}),
        Step(8.0, {"b": 1}, 1),
    ]
    assert outcome.of("b").preemptions == 2
    # Preempted at 3 s and, before it gave a token, again at 5 s: one wait for the first token, which comes at 9 s.
    assert outcome.of("b").preempted_s == 6.0
    (b_whole,) = (record for record in outcome.programs if record.program == "b")
    assert (b_whole.queue_s, b_whole.prefill_s, b_whole.decode_s, b_whole.preempted_s) == (1.0, 2.0, 0.0, 6.0)


def test_program_fifo_resumes_a_preempted_turn_before_an_older_program() -> None:
    # y is preempted at 1 s; x, of an older program, comes back while y waits and still goes second.
    x = program("x", turn(4, 1, gap=1.5), turn(5, 1))
    a, y = program("a", turn(8, 6), at=1.0), program("y", turn(8, 3), at=1.0)
    _, outcome = schedule_of([x, a, y], "program-fifo", config=engine(5))
    log = [(event, name, number) for event, _, name, number in outcome.events("preempt", "admit")]
    assert log[3:] == [("preempt", "y", 0), ("admit", "y", 0), ("admit", "x", 1)]


@dataclass(frozen=True)
class _OldestFirst(Order):
    """Preempts the turn that was admitted first, which an engine's own order never does."""

    def victim(self, running: Sequence[TurnView]) -> int:
        return 0


def test_a_policy_may_choose_the_victim() -> None:
    # At 1 s a lacks nothing (one block is free); b does, and a is thrown out although it was given its token
    # already: it loses that as well, but what it computed before is cached.
    a, b = program("a", turn(8, 3)), program("b", turn(8, 3))
    steps, outcome = schedule_of([a, b], Policy("oldest-first", order=_OldestFirst()), config=engine(5))
    assert steps == [
        Step(0.0, {"a": 8, "b": 8}, 1, {"a": 0, "b": 0}),
        Step(1.0, {"b": 1}, 2, {}, ["a"]),
        Step(2.0, {"b": 1}, 2),
        Step(3.0, {"a": 1}, 2, {"a": 8}),
        Step(4.0, {"a": 1}, 2),
    ]
    assert outcome.of("a").finish_s == 5.0
    assert outcome.of("a").computed_tokens == 10
