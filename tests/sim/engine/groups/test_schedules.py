"""Schedules with several KV cache groups, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from support.invariants import InvariantObserver
from support.programs import engine, program, turn
from support.runs import simulate

WINDOWS = (GroupSpec("sliding", 4, 9), GroupSpec("full", 4))
"""A hit needs two blocks of the window."""


def with_groups(usable: int, groups: tuple[GroupSpec, ...] = WINDOWS, interval: int | None = 0) -> EngineConfig:
    config = engine(usable, budget=64, max_model_len=256)
    return replace(config, kv_cache_groups=groups, prefix_cache_retention_interval=interval)


def test_a_window_is_all_that_a_decoding_turn_holds_of_its_group() -> None:
    # 40 prompt tokens and 23 of the output: 16 blocks of full attention. The window has 10 blocks in the first step,
    # which are freed at the second but for the two it reaches; one more while a block fills.
    outcome = simulate([program("a", turn(40, 24))], config=with_groups(100))
    assert outcome.totals.peak_used_blocks == max(10 + 10, 16 + 3)


def test_the_next_turn_of_an_agent_computes_the_last_output_again() -> None:
    # The window at the end of the first prompt, tokens 32 to 39, is found; that at the end of its output is not.
    agent = program("a", turn(40, 24), turn(70, 1))
    for interval, cached in ((0, 36), (None, 60)):
        outcome = simulate([agent], config=with_groups(100, interval=interval))
        assert [record.cached_tokens for record in outcome.turns] == [0, cached]


def test_where_prompts_part_the_third_finds_what_the_second_missed() -> None:
    # All share 20 tokens. The first caches the window at its own end, so the second finds none, although the other
    # group has five blocks: it keeps the window there, and the third hits it.
    programs = [
        program(name, turn(50, 1), at=at, shared=("system", 20)) for name, at in (("a", 0), ("b", 10), ("c", 20))
    ]
    outcome = simulate(programs, config=with_groups(100))
    assert [record.cached_tokens for record in outcome.turns] == [0, 0, 20]


def test_a_turn_is_admitted_by_its_window_and_not_by_its_prompt() -> None:
    # 128 tokens are 32 blocks of full attention. A window reserves 9 − 1 + 64 tokens, 18 blocks and one: 51 in all.
    for usable, groups, fits in ((51, WINDOWS, True), (50, WINDOWS, False)):
        config = with_groups(usable, groups)
        assert (config.blocks_of(128) <= config.usable_blocks) is fits
    outcome = simulate([program("a", turn(128, 1))], config=with_groups(51))
    assert [record.computed_tokens for record in outcome.turns] == [128]


@pytest.mark.parametrize(("retention", "pinned"), [(0, 9 + 2), (None, 15 + 2)])
def test_a_pin_holds_what_the_next_turn_can_hit_in_every_group(retention: int | None, pinned: int) -> None:
    # After 40 + 24 tokens: up to the window that is found, 9 or 15 blocks of full attention and two of the window.
    agent = program("a", turn(40, 24, gap=10.0), turn(70, 1))
    outcome = simulate([agent], "pin-forever", config=with_groups(100, interval=retention))
    assert outcome.totals.counts.pinned_block_seconds == 10.0 * pinned
    assert outcome.totals.counts.pins_hit == 1


def test_chunks_are_freed_whole() -> None:
    # Chunks of 16 tokens: after the prompt of 20, four blocks of the first chunk go, and the others stay to the end.
    groups = (GroupSpec("chunked", 4, 16), GroupSpec("full", 4))
    outcome = simulate([program("a", turn(20, 8))], config=with_groups(100, groups))
    assert outcome.totals.peak_used_blocks == 5 + 5


STATES = (GroupSpec("full", 4), GroupSpec("recurrent", 4))
SAVED = (GroupSpec("full", 4), GroupSpec("recurrent", 4, checkpoints=True))
"""States that are saved at the last block boundary of a prompt without a step that ends there."""


def test_of_states_a_turn_holds_the_last_and_while_it_moves_on_the_one_before() -> None:
    # 40 tokens: a step ends at 36, the last boundary before the token that is always computed; then the other 4.
    for groups, steps in ((STATES, 2 + 23), (SAVED, 1 + 23)):
        outcome = simulate([program("a", turn(40, 24))], config=with_groups(100, groups))
        assert outcome.totals.steps == steps
        assert outcome.totals.peak_used_blocks == 16 + 2
    outcome = simulate([program("a", turn(40, 1))], config=with_groups(100, SAVED))
    assert outcome.totals.peak_used_blocks == 10 + 2, "the state at 36 and the one at 40"


@pytest.mark.parametrize("groups", [STATES, SAVED])
def test_the_next_turn_goes_on_from_the_state_before_the_last_output(groups: tuple[GroupSpec, ...]) -> None:
    agent = program("a", turn(40, 24), turn(70, 1))
    for interval, cached in ((0, 36), (None, 60), (16, 48)):
        outcome = simulate([agent], config=with_groups(100, groups, interval=interval))
        assert [record.cached_tokens for record in outcome.turns] == [0, cached]


def test_where_prompts_part_the_second_leaves_a_state_for_the_third() -> None:
    programs = [
        program(name, turn(50, 1), at=at, shared=("system", 20)) for name, at in (("a", 0), ("b", 10), ("c", 20))
    ]
    outcome = simulate(programs, config=with_groups(100, STATES))
    assert [record.cached_tokens for record in outcome.turns] == [0, 0, 20]


def test_a_state_is_found_in_the_step_after_the_one_that_computes_it() -> None:
    # Both arrive at once. The first computes 36 of 40 shared tokens, and 28 more fit in that step, but the other waits.
    programs = [program(name, turn(40 + more, 1), shared=("system", 40)) for name, more in (("a", 0), ("b", 1))]
    attention = simulate(programs, config=with_groups(100, (GroupSpec("full", 4), GroupSpec("full", 4))))
    assert [record.cached_tokens for record in attention.turns] == [0, 40]
    assert len({record.scheduled_s for record in attention.turns}) == 1
    outcome = simulate(programs, config=with_groups(100, STATES))
    assert [record.cached_tokens for record in outcome.turns] == [0, 36]
    assert len({record.scheduled_s for record in outcome.turns}) == 2


def test_a_step_too_full_for_a_block_leaves_a_prompt_with_states_waiting() -> None:
    # Blocks of 32 tokens, 40 a step: beside 10 turns that decode, 30 tokens are left, which end inside a block.
    config = replace(engine(200, budget=40, max_model_len=256), block_size=32)
    config = replace(config, kv_cache_groups=(GroupSpec("full", 32), GroupSpec("recurrent", 32)))
    programs = [program(f"p{n}", turn(1, 20)) for n in range(10)] + [program("long", turn(100, 1), at=1.5)]
    outcome = simulate(programs, config=config)
    ends = {record.program: record.finish_s for record in outcome.turns}
    began = next(record.scheduled_s for record in outcome.turns if record.program == "long")
    assert began == max(finish_s for name, finish_s in ends.items() if name != "long")


def test_without_prefix_caching_a_state_takes_one_block() -> None:
    config = replace(with_groups(100), enable_prefix_caching=False)
    config = replace(config, kv_cache_groups=(GroupSpec("full", 4), GroupSpec("recurrent", 256)))
    outcome = simulate([program("a", turn(40, 24))], config=config)
    assert outcome.totals.peak_used_blocks == 16 + 1
    assert outcome.totals.steps == 24


@pytest.mark.parametrize("usable", [42, 48, 56])
def test_a_turn_hits_what_a_pin_held_that_breaks_for_it(usable: int) -> None:
    # The groups' blocks are freed one group after another, so what was found as one run of both comes apart.
    groups = (GroupSpec("sliding", 4, 41), GroupSpec("sliding", 4, 41), GroupSpec("full", 4))
    programs = [
        program("a", turn(40, 1, gap=50.0), turn(60, 1), shared=("system", 20)),
        program("b", turn(62, 2), at=10.0, shared=("system", 20)),
    ]
    config = replace(with_groups(usable, groups, interval=None), max_num_batched_tokens=6, max_num_seqs=6)
    outcome = simulate(programs, "pin-forever", config=config, observer=InvariantObserver(config))
    assert outcome.of("b").cached_tokens == 20
