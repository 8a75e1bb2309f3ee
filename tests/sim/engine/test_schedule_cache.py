"""What a turn finds cached: schedules worked out by hand (blocks of 4 tokens, steps of 1 s)."""

from __future__ import annotations

from support.programs import engine, program, turn
from support.schedule import Step, schedule_of


def test_a_context_is_found_again_after_a_gap() -> None:
    # 8 prompt and 5 output tokens: 12 computed, 3 full blocks; the next prompt computes its 13th token only.
    a = program("a", turn(8, 5, gap=2.0), turn(13, 1))
    steps, outcome = schedule_of([a], config=engine(5))
    assert steps == [
        Step(0.0, {"a": 8}, 3, {"a": 0}),
        *(Step(float(k), {"a": 1}, 2) for k in range(1, 5)),
        Step(7.0, {"a": 1}, 1, {"a": 12}),
    ]
    assert outcome.of("a", 1).cached_tokens == 12
    assert outcome.of("a", 1).computed_tokens == 1


def test_fcfs_keeps_nothing_between_turns() -> None:
    a = program("a", turn(8, 5, gap=2.0), turn(13, 1))
    steps, outcome = schedule_of([a], "fcfs", config=engine(5))
    assert steps[-1] == Step(7.0, {"a": 13}, 1, {"a": 0})
    assert outcome.of("a", 1).recomputed_tokens == 12
    assert outcome.totals.counts.evictions == 2


def test_the_last_block_of_a_full_hit_is_computed_again() -> None:
    # The whole prompt of 12 tokens is cached, but a token must be computed to sample from: the last block goes.
    a = program("a", turn(8, 5, gap=1.0), turn(12, 1, kept=12))
    steps, outcome = schedule_of([a], config=engine(5))
    assert steps[-1] == Step(6.0, {"a": 4}, 2, {"a": 8})
    assert outcome.of("a", 1).recomputed_tokens == 4


def test_a_partly_filled_block_is_not_found() -> None:
    # 6 + 4 tokens leave 9 computed: 2 full blocks and one more token.
    a = program("a", turn(6, 4, gap=1.0), turn(10, 1))
    steps, _ = schedule_of([a], config=engine(5))
    assert steps[-1] == Step(5.0, {"a": 2}, 2, {"a": 8})


def test_a_parked_context_loses_its_tail_first() -> None:
    # a parks 3 blocks; b takes the 2 blank ones and one of a's: the last.
    a = program("a", turn(8, 5, gap=10.0), turn(13, 1))
    b = program("b", turn(10, 2), at=6.0)
    steps, outcome = schedule_of([a, b], config=engine(5))
    assert steps[5:] == [
        Step(6.0, {"b": 10}, 2, {"b": 0}),
        Step(7.0, {"b": 1}, 2),
        Step(15.0, {"a": 5}, 1, {"a": 8}),
    ]
    assert outcome.of("a", 1).recomputed_tokens == 4


def test_the_context_parked_first_is_evicted_first() -> None:
    # a and b park 2 blocks each, a first; c takes the blank one and all of a's.
    a = program("a", turn(8, 1, gap=20.0), turn(9, 1))
    b = program("b", turn(8, 2, gap=10.0), turn(10, 1))
    c = program("c", turn(12, 1), at=5.0)
    _, outcome = schedule_of([a, b, c], config=engine(5))
    assert outcome.of("a", 1).cached_tokens == 0
    assert outcome.of("b", 1).cached_tokens == 8


def test_of_turns_that_end_together_the_one_admitted_first_is_evicted_first() -> None:
    a = program("a", turn(8, 1, gap=20.0), turn(9, 1))
    b = program("b", turn(8, 1, gap=10.0), turn(9, 1))
    c = program("c", turn(12, 1), at=5.0)
    _, outcome = schedule_of([a, b, c], config=engine(5))
    assert outcome.of("a", 1).cached_tokens == 0
    assert outcome.of("b", 1).cached_tokens == 8


def test_a_hit_moves_a_context_to_the_back_of_the_queue() -> None:
    # a parks first but comes back and parks again after b: now b's blocks go first.
    a = program("a", turn(8, 1, gap=3.0), turn(9, 1, gap=20.0), turn(10, 1))
    b = program("b", turn(8, 2, gap=30.0), turn(10, 1))
    c = program("c", turn(12, 1), at=8.0)
    _, outcome = schedule_of([a, b, c], config=engine(5))
    assert outcome.of("a", 2).cached_tokens == 8
    assert outcome.of("b", 1).cached_tokens == 0


def test_a_finished_programs_blocks_are_evicted_in_their_turn() -> None:
    # b's program ends and leaves nothing that any turn will use, yet its blocks are behind a's in the queue.
    a = program("a", turn(8, 1, gap=20.0), turn(9, 1))
    b = program("b", turn(8, 1), at=2.0)
    c = program("c", turn(8, 1), at=5.0)
    _, outcome = schedule_of([a, b, c], config=engine(5))
    assert outcome.of("a", 1).cached_tokens == 4


def test_a_second_program_hits_a_shared_prefix_that_is_being_computed() -> None:
    # Two full blocks of the 9 shared tokens; b is admitted in the step that computes them for a.
    a = program("a", turn(14, 1), shared=("system", 9))
    b = program("b", turn(10, 1), shared=("system", 9))
    steps, outcome = schedule_of([a, b], config=engine(10))
    assert steps == [Step(0.0, {"a": 14, "b": 2}, 5, {"a": 0, "b": 8})]
    assert outcome.of("b").cached_tokens == 8


def test_a_shared_prefix_is_hit_as_far_as_it_is_scheduled() -> None:
    # a's prompt takes the whole budget of 6 twice. b arrives meanwhile and waits for the budget; when it enters,
    # in the step of a's last chunk, all 3 shared blocks are there.
    a = program("a", turn(14, 3), shared=("system", 12))
    b = program("b", turn(13, 1), at=0.5, shared=("system", 12))
    steps, _ = schedule_of([a, b], config=engine(10, budget=6))
    assert steps == [
        Step(0.0, {"a": 6}, 8, {"a": 0}),
        Step(1.0, {"a": 6}, 7),
        Step(2.0, {"a": 2, "b": 1}, 5, {"b": 12}),
        Step(3.0, {"a": 1}, 6),
        Step(4.0, {"a": 1}, 6),
    ]


def test_shared_blocks_in_use_do_not_count_against_admission() -> None:
    # b needs 3 blocks, one is free and two are a's; were they only cached, b would have to wait.
    a = program("a", turn(8, 6), shared=("system", 8))
    b = program("b", turn(9, 1), at=0.5, shared=("system", 8))
    steps, _ = schedule_of([a, b], config=engine(4))
    assert steps[:2] == [
        Step(0.0, {"a": 8}, 2, {"a": 0}),
        Step(1.0, {"a": 1, "b": 1}, 0, {"b": 8}),
    ]


def test_cached_blocks_do_count_against_admission() -> None:
    # a's turn 2 hits 2 of the 3 free blocks (12 tokens would need 3 in all); c holds the other two.
    a = program("a", turn(8, 1, gap=1.0), turn(13, 1))
    c = program("c", turn(5, 4))
    steps, outcome = schedule_of([a, c], config=engine(5))
    assert steps == [
        Step(0.0, {"a": 8, "c": 5}, 1, {"a": 0, "c": 0}),
        Step(1.0, {"c": 1}, 3),
        Step(2.0, {"c": 1}, 3),
        Step(3.0, {"c": 1}, 3),
        Step(4.0, {"a": 5}, 1, {"a": 8}),
    ]
    assert outcome.of("a", 1).cached_tokens == 8


def test_a_context_that_shrinks_is_found_up_to_the_break() -> None:
    # Of 12 cached tokens the next prompt keeps 6: one full block. Later turns build on the new content.
    a = program("a", turn(8, 5, gap=1.0), turn(14, 3, kept=6, gap=1.0), turn(17, 1))
    steps, outcome = schedule_of([a], config=engine(8))
    assert steps[5] == Step(6.0, {"a": 10}, 4, {"a": 4})
    assert outcome.of("a", 2).cached_tokens == 16
    assert outcome.of("a", 1).recomputed_tokens == 2, "of the 6 kept tokens, those beyond the full block"


def test_content_given_up_stays_in_line_for_eviction() -> None:
    # x parks block x0 at 1 s, a parks a0 to a2 at 2 s; a's second turn keeps a0 alone. Nobody can hit a1 and a2
    # any more, but x0 was freed before them: b takes the 2 blank blocks and x0.
    x = program("x", turn(4, 1, gap=30.0), turn(5, 1))
    a = program("a", turn(12, 1, gap=1.0), turn(6, 1, kept=4, gap=10.0), turn(7, 1), at=1.0)
    b = program("b", turn(12, 1), at=5.0)
    _, outcome = schedule_of([x, a, b], config=engine(6))
    assert outcome.of("x", 1).cached_tokens == 0
    assert outcome.of("a", 2).cached_tokens == 4


def test_only_shared_and_kept_blocks_are_found() -> None:
    # a breaks inside the shared prefix: beyond block 0 its content is its own from then on.
    a = program("a", turn(12, 1, gap=1.0), turn(12, 1, kept=6, gap=1.0), turn(13, 1), shared=("system", 12))
    b = program("b", turn(13, 1), at=20.0, shared=("system", 12))
    _, outcome = schedule_of([a, b], config=engine(20))
    assert outcome.of("a", 1).cached_tokens == 4
    assert outcome.of("a", 2).cached_tokens == 12
    assert outcome.of("b").cached_tokens == 12, "the prefix itself is still cached, as a first computed it"


def test_of_two_prefixes_of_one_name_the_shorter_part_is_common() -> None:
    a = program("a", turn(20, 1), shared=("system", 18))
    b = program("b", turn(20, 1), at=5.0, shared=("system", 9))
    c = program("c", turn(20, 1), at=10.0, shared=("system", 18))
    _, outcome = schedule_of([a, b, c], config=engine(40))
    assert outcome.of("b").cached_tokens == 8
    assert outcome.of("c").cached_tokens == 16
