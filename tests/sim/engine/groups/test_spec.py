"""What groups keep of a context, on the examples in vLLM's own docstrings and by hand."""

from __future__ import annotations

from typing import Any

import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.errors import ConfigError


@pytest.mark.parametrize(
    ("spec", "computed", "skipped"),
    [
        (GroupSpec("sliding", 1, 4), 7, 4),  # `SlidingWindowManager.get_num_skipped_tokens`
        (GroupSpec("sliding", 4, 4), 7, 1),
        (GroupSpec("sliding", 4, 4), 2, 0),
        (GroupSpec("chunked", 1, 8), 13, 8),  # `ChunkedLocalAttentionManager.get_num_skipped_tokens`
        (GroupSpec("chunked", 1, 8), 8, 8),
        (GroupSpec("chunked", 1, 8), 7, 0),
        (GroupSpec("full", 4), 1000, 0),
    ],
)
def test_what_no_later_token_attends_to(spec: GroupSpec, computed: int, skipped: int) -> None:
    assert spec.skipped_blocks(computed) == skipped


def test_admission_reserves_a_window_and_what_is_in_flight() -> None:
    # Gemma 3 12B: windows of 1,024 tokens, 2,048 a step, planned ahead: 1,023 + 4,096 tokens, and one block more.
    assert GroupSpec("sliding", 16, 1024).most_blocks(4096, 131_072, ahead=False) == 320 + 1
    assert GroupSpec("sliding", 16, 1024).most_blocks(4096, 160, ahead=False) == 10 + 1
    assert GroupSpec("chunked", 16, 8192).most_blocks(2048, 131_072, ahead=False) == 640
    assert GroupSpec("full", 16).most_blocks(4096, 131_072, ahead=False) is None


@pytest.mark.parametrize(
    ("interval", "boundaries", "cached"),
    [
        (0, (99,), [(4, 6)]),  # the last window of a prompt of 100 tokens; its last block is not full
        (0, (99, 40), [(0, 2), (4, 6)]),  # and that at which prompts part
        (0, (99, 80), [(3, 6)]),
        (0, (), []),
        (None, (99,), [(0, 6)]),  # windows end with every block
        (64, (99,), [(2, 6)]),  # one in 64 tokens: blocks 2 and 3, and the last
    ],
)
def test_windows_that_can_be_found_again(
    interval: int | None, boundaries: tuple[int, ...], cached: list[tuple[int, int]]
) -> None:
    spec = GroupSpec("sliding", 16, 33)  # needs two blocks
    assert spec.findable(0, 6, boundaries, 16, interval) == cached


@pytest.mark.parametrize(
    ("interval", "boundaries", "cached"),
    [(0, (64,), [(2, 5)]), (0, (0,), [(0, 1)]), (64, (), [(2, 5), (6, 9)]), (32, (), [(0, 9)])],
)
def test_a_window_whose_last_block_is_dropped_has_one_more(
    interval: int, boundaries: tuple[int, ...], cached: list[tuple[int, int]]
) -> None:
    assert GroupSpec("sliding", 16, 33).findable(0, 9, boundaries, 16, interval, drops=True) == cached
    assert GroupSpec("recurrent", 16).findable(0, 9, (64,), 16, 0, drops=True) == [(3, 4)]


def test_groups_that_keep_chunks_or_all_tokens_cache_every_block() -> None:
    for spec in (GroupSpec("full", 16), GroupSpec("chunked", 16, 64)):
        assert spec.findable(3, 9, (), 16, 0) == [(3, 9)]


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"kind": "ring", "block_size": 16}, "expected full, sliding, chunked, recurrent"),
        ({"kind": "full", "block_size": 0}, "blocks of 0 tokens"),
        ({"kind": "full", "block_size": 16, "window": 4}, "full attention and recurrent layers have none"),
        ({"kind": "sliding", "block_size": 16}, "the others at least 1"),
        ({"kind": "full", "block_size": 16, "checkpoints": True}, "saves no states"),
    ],
)
def test_impossible_groups_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        GroupSpec(**settings)


@pytest.mark.parametrize(
    ("groups", "interval", "says"),
    [
        ((GroupSpec("chunked", 16, 64), GroupSpec("full", 32)), 0, "beside groups with blocks of another size"),
        ((GroupSpec("sliding", 16, 64), GroupSpec("full", 32)), 16, "expected a multiple of 32"),
        ((GroupSpec("full", 16),), 32, "no KV cache group slides"),
        ((), 32, "no KV cache group slides"),
    ],
)
def test_settings_that_vllm_refuses_are_refused(groups: tuple[GroupSpec, ...], interval: int, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        EngineConfig(100, kv_cache_groups=groups, prefix_cache_retention_interval=interval)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"enable_prefix_caching": False}, "one block holds the state of a whole turn, of up to 131072"),
        ({"enable_chunked_prefill": False, "max_num_batched_tokens": 1 << 18}, "needs chunked prefill"),
        ({"kv_cache_groups": (GroupSpec("full", 32), GroupSpec("recurrent", 16))}, "inside blocks of recurrent layers"),
    ],
)
def test_states_need_prefixes_that_end_with_blocks(settings: dict[str, Any], says: str) -> None:
    groups = (GroupSpec("full", 16), GroupSpec("recurrent", 16))
    with pytest.raises(ConfigError, match=says):
        EngineConfig(**{"num_gpu_blocks": 100, "kv_cache_groups": groups, **settings})


def test_of_states_a_turn_holds_a_few_blocks_however_long_it_is() -> None:
    for checkpoints, ahead, blocks in ((False, False, 2), (False, True, 3), (True, True, 4)):
        state = GroupSpec("recurrent", 16, checkpoints=checkpoints)
        config = EngineConfig(101, kv_cache_groups=(state, state), async_scheduling=ahead)
        assert config.blocks_of(10_000) == 2 * blocks
        assert config.blocks_of(17) == 2 * 2


def test_a_turn_holds_a_window_of_each_group() -> None:
    # Two groups of windows: 32 − 1 + 2 × 64 tokens in flight are 10 blocks, and one more; one keeps all tokens.
    windows = GroupSpec("sliding", 16, 32)
    config = EngineConfig(
        101,
        max_num_batched_tokens=64,
        max_num_seqs=4,
        max_model_len=4096,
        async_scheduling=True,
        kv_cache_groups=(windows, windows, GroupSpec("full", 16)),
    )
    assert config.blocks_of(100) == 3 * 7
    assert config.blocks_of(1000) == 2 * 11 + 63
    assert config.most_tokens == (100 - 22) * 16
