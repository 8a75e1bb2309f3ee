"""Settings of speculative decoding, and what they mean for an engine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.speculation.config import SpeculationConfig, rates_of_length
from continuum_sim.errors import ConfigError

EAGLE = SpeculationConfig("eagle3", 3, (0.8, 0.6, 0.4))


@pytest.mark.parametrize(
    ("method", "number", "rates", "says"),
    [
        ("suffix", 1, (0.5,), "'suffix' is not modelled"),
        ("eagel", 1, (0.5,), "expected one of ngram"),
        ("eagle", 0, (), "num_speculative_tokens is 0"),
        ("eagle", 2, (0.5,), "there are 1 acceptance rates, expected 2"),
        ("eagle", 2, (0.5, 1.5), "expected shares from 0 to 1"),
        ("eagle", 2, (0.5, 0.6), "none above the one before"),
    ],
)
def test_what_vllm_refuses_is_refused(method: str, number: int, rates: tuple[float, ...], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        SpeculationConfig(method, number, rates)


@pytest.mark.parametrize(
    ("method", "lookahead", "slots", "drops", "hashes"),
    [
        ("ngram", 0, 0, False, 0),
        ("ngram_gpu", 0, 0, False, 0),
        ("draft_model", 3, 1, False, 0),
        ("eagle", 3, 0, True, 1),
        ("mtp", 3, 0, True, 1),
    ],
)
def test_what_each_method_takes(method: str, lookahead: int, slots: int, drops: bool, hashes: int) -> None:
    config = replace(EAGLE, method=method)
    assert (config.num_lookahead_tokens, config.draft_slots) == (lookahead, slots)
    assert (config.drops_last_hit("0.32"), config.hash_lookahead_tokens("0.32")) == (drops, 0)
    assert (config.drops_last_hit("0.33"), config.hash_lookahead_tokens("0.33")) == (False, hashes)
    as_before = replace(config, disable_lookahead_block_hashes=True)
    assert (as_before.drops_last_hit("0.33"), as_before.hash_lookahead_tokens("0.33")) == (drops, 0)
    kept = replace(config, disable_eagle_block_drop=True)
    assert (kept.drops_last_hit("0.33"), kept.hash_lookahead_tokens("0.33")) == (False, 0)


def test_a_length_stands_for_the_rates_that_vllm_takes() -> None:
    assert rates_of_length(1.0, 2) == (0.0, 0.0)
    assert rates_of_length(3.25, 4) == (1.0, 1.0, 0.25, 0.0)
    assert SpeculationConfig("eagle", 4, rates_of_length(3.25, 4)).acceptance_length == 3.25
    with pytest.raises(ConfigError, match="acceptance length is 4, expected 1 to 3"):
        rates_of_length(4.0, 2)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"speculation": replace(EAGLE, method="ngram"), "async_scheduling": True},
            "0.32 plans no step ahead with ngram",
        ),
        ({"kv_cache_groups": (GroupSpec("full", 16),), "drafter_group": 1}, "there are 1 KV cache groups"),
        ({"kv_cache_groups": (GroupSpec("recurrent", 16),), "drafter_group": 0}, "whose layers are recurrent"),
        ({"kv_cache_groups": (GroupSpec("chunked", 16, 64),)}, "keeps no chunks beside eagle3 drafts"),
        ({"tiers": TierConfig(dram_blocks=10, dram_block_s=1.0)}, "memory tiers is not modelled"),
        ({"long_prefill_token_threshold": 3}, "below the 4 tokens of a turn"),
        ({"max_num_batched_tokens": 3, "max_num_seqs": 1}, "never admit a prompt that lacks one token"),
        (
            {"speculation": replace(EAGLE, method="draft_model"), "max_num_batched_tokens": 1, "max_num_seqs": 1},
            "below the 5 of one turn with its drafts",
        ),
    ],
)
def test_what_is_not_modelled_beside_drafts_is_refused_by_name(changes: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        replace(EngineConfig(100, speculation=EAGLE), **changes)  # type: ignore[arg-type]


def test_a_turn_needs_room_for_what_may_be_accepted() -> None:
    """The last step may begin a token before the end, reckons with 3 drafts, and the drafter writes 3 slots more."""
    config = EngineConfig(100, speculation=EAGLE, max_model_len=1000)
    assert config.blocks_of(160 - 6) == 10
    assert config.blocks_of(160 - 5) == 11
    ahead = replace(config, async_scheduling=True)
    assert ahead.blocks_of(160 - 10) == 10
    assert ahead.blocks_of(160 - 9) == 11
    assert config.blocks_of(999) == ahead.blocks_of(999) == 63, "no turn is longer than the longest"
    assert replace(config, num_gpu_blocks=11).most_tokens == 160 - 6
