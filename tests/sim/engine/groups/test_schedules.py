"""Schedules with several KV cache groups, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
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
