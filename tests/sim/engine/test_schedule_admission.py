"""Which turns enter the batch, when, and with how many tokens: schedules worked out by hand.

Blocks hold 4 tokens and every step takes 1 s, so step k starts at k seconds. A turn of `p` prompt and `o`
output tokens computes p + o - 1 of them: its last token is sampled, never computed.
"""

from __future__ import annotations

import pytest

from support.programs import engine, program, turn
from support.runs import simulate
from support.schedule import Step, schedule_of


def test_a_prompt_waits_until_all_of_it_fits() -> None:
    # b's first chunk of 7 tokens would fit into the 2 free blocks, its prompt of 12 needs 3.
    a, b = program("a", turn(8, 4)), program("b", turn(12, 1))
    steps, outcome = schedule_of([a, b], config=engine(5, budget=8))
    assert steps == [
        Step(0.0, {"a": 8}, 3, {"a": 0}),
        Step(1.0, {"a": 1}, 2),
        Step(2.0, {"a": 1}, 2),
        Step(3.0, {"a": 1}, 2),
        Step(4.0, {"b": 8}, 3, {"b": 0}),
        Step(5.0, {"b": 4}, 2),
    ]
    assert (outcome.of("b").scheduled_s, outcome.of("b").first_token_s) == (4.0, 6.0)


def test_without_the_full_prompt_check_a_first_chunk_is_enough() -> None:
    # b enters with 7 tokens, lacks a block for the rest one step later, gives up its own two blocks and finds
    # one of them (the full one) again.
    a, b = program("a", turn(8, 4)), program("b", turn(12, 1))
    steps, outcome = schedule_of([a, b], config=engine(5, budget=8, reserve=False))
    assert steps == [
        Step(0.0, {"a": 8}, 3, {"a": 0}),
        Step(1.0, {"a": 1, "b": 7}, 0, {"b": 0}),
        Step(2.0, {"a": 1}, 2, {}, ["b"]),
        Step(3.0, {"a": 1}, 2),
        Step(4.0, {"b": 8}, 2, {"b": 4}),
    ]
    b_turn = outcome.of("b")
    assert (b_turn.computed_tokens, b_turn.recomputed_tokens, b_turn.cached_tokens) == (15, 3, 0)


def test_prefill_chunks_share_the_budget_with_decodes() -> None:
    a, b = program("a", turn(4, 5)), program("b", turn(13, 2))
    steps, outcome = schedule_of([a, b], config=engine(20, budget=6))
    assert steps == [
        Step(0.0, {"a": 4, "b": 2}, 18, {"a": 0, "b": 0}),
        Step(1.0, {"a": 1, "b": 5}, 16),
        Step(2.0, {"a": 1, "b": 5}, 15),
        Step(3.0, {"a": 1, "b": 1}, 14),
        Step(4.0, {"a": 1, "b": 1}, 14),
    ]
    assert outcome.of("b").first_token_s == 4.0
    assert [(t.program, t.finish_s) for t in outcome.turns] == [("a", 5.0), ("b", 5.0)]


def test_what_a_last_chunk_leaves_of_the_budget_admits_the_next_turn() -> None:
    a, b, c = (program(name, turn(n, 1)) for name, n in (("a", 9), ("b", 5), ("c", 3)))
    steps, _ = schedule_of([a, b, c], config=engine(20, budget=8))
    assert steps == [
        Step(0.0, {"a": 8}, 18, {"a": 0}),
        Step(1.0, {"a": 1, "b": 5, "c": 2}, 14, {"b": 0, "c": 0}),
        Step(2.0, {"c": 1}, 19),
    ]


def test_no_more_turns_run_than_max_num_seqs() -> None:
    a, b, c = program("a", turn(4, 3)), program("b", turn(4, 2)), program("c", turn(4, 1))
    steps, _ = schedule_of([a, b, c], config=engine(20, seqs=2))
    assert steps == [
        Step(0.0, {"a": 4, "b": 4}, 18, {"a": 0, "b": 0}),
        Step(1.0, {"a": 1, "b": 1}, 16),
        Step(2.0, {"a": 1, "c": 4}, 17, {"c": 0}),
    ]


def test_the_watermark_binds_beside_others_but_not_alone() -> None:
    # 6 blocks in all, one of them the null block: the watermark is int(0.3 * 6) = 1 block. b needs the 3 that
    # are free while a runs, which would leave none; alone it may take everything.
    a, b = program("a", turn(8, 2)), program("b", turn(12, 1))
    steps, _ = schedule_of([a, b], config=engine(5, watermark=0.3))
    assert steps == [
        Step(0.0, {"a": 8}, 3, {"a": 0}),
        Step(1.0, {"a": 1}, 2),
        Step(2.0, {"b": 12}, 2, {"b": 0}),
    ]
    without, _ = schedule_of([a, b], config=engine(5))
    assert without[0] == Step(0.0, {"a": 8, "b": 12}, 0, {"a": 0, "b": 0})
    alone, _ = schedule_of([program("c", turn(20, 1))], config=engine(5, watermark=0.3))
    assert alone == [Step(0.0, {"c": 20}, 0, {"c": 0})]


def test_the_first_turn_that_does_not_fit_stops_admission() -> None:
    # c would fit, but nobody passes b.
    a, b, c = program("a", turn(8, 2)), program("b", turn(16, 1)), program("c", turn(4, 1))
    steps, outcome = schedule_of([a, b, c], config=engine(5))
    assert steps == [
        Step(0.0, {"a": 8}, 3, {"a": 0}),
        Step(1.0, {"a": 1}, 2),
        Step(2.0, {"b": 16, "c": 4}, 0, {"b": 0, "c": 0}),
    ]
    assert outcome.totals.counts.reorders == 0


def test_an_arrival_during_a_step_is_seen_by_the_next_one() -> None:
    a = program("a", turn(4, 3))
    b = program("b", turn(4, 1), at=0.25)
    c = program("c", turn(4, 1), at=2.0)
    steps, outcome = schedule_of([a, b, c], config=engine(20))
    assert steps == [
        Step(0.0, {"a": 4}, 19, {"a": 0}),
        Step(1.0, {"a": 1, "b": 4}, 17, {"b": 0}),
        Step(2.0, {"a": 1, "c": 4}, 17, {"c": 0}),
    ]
    assert outcome.of("b").scheduled_s == 1.0
    assert outcome.of("c").scheduled_s == 2.0, "an arrival at a boundary is seen by the step that starts there"


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_tool_that_takes_no_time_brings_its_turn_into_the_next_step(stepwise: bool) -> None:
    a, c = program("a", turn(4, 1, gap=0.0), turn(5, 1)), program("c", turn(4, 4))
    outcome = simulate([a, c], config=engine(20), stepwise=stepwise)
    assert outcome.of("a", 1).arrival_s == outcome.of("a", 1).scheduled_s == 1.0
    assert outcome.of("a", 1).finish_s == 2.0


def test_the_engine_sleeps_between_arrivals() -> None:
    steps, outcome = schedule_of(
        [program("a", turn(4, 1), at=1.5), program("b", turn(4, 1), at=7.75)], config=engine(5)
    )
    assert [step.start_s for step in steps] == [1.5, 7.75]
    assert outcome.totals.busy_s == 2.0
    assert outcome.totals.end_s == 8.75


@pytest.mark.parametrize("policy", ["program-fifo", "ttl-static:ttl=0"])
def test_program_fifo_lets_an_old_programs_turn_pass(policy: str) -> None:
    # When a's second turn arrives, c waits already; a is the older program.
    a = program("a", turn(4, 1, gap=1.0), turn(5, 1))
    b = program("b", turn(4, 4))
    c = program("c", turn(4, 1), at=1.5)
    config = engine(20, seqs=1)
    ordered, outcome = schedule_of([a, b, c], policy, config=config)
    assert [list(step.batch) for step in ordered] == [["a"], ["b"], ["b"], ["b"], ["b"], ["a"], ["c"]]
    assert outcome.totals.counts.reorders == 1
    plain, _ = schedule_of([a, b, c], config=config)
    assert [list(step.batch) for step in plain] == [["a"], ["b"], ["b"], ["b"], ["b"], ["c"], ["a"]]
