"""Engine settings that make no sense are refused, with their names."""

from __future__ import annotations

from typing import Any

import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.errors import ConfigError


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"num_gpu_blocks": 1}, ["num_gpu_blocks is 1", "at least 2"]),
        ({"block_size": 0}, ["block_size is 0", "at least 1"]),
        ({"max_num_batched_tokens": 0}, ["max_num_batched_tokens is 0"]),
        ({"max_num_seqs": 0}, ["max_num_seqs is 0"]),
        ({"max_model_len": 1}, ["max_model_len is 1", "at least 2"]),
        ({"watermark": 1.0}, ["watermark is 1.0"]),
        ({"watermark": -0.1}, ["watermark is -0.1"]),
        ({"watermark": float("nan")}, ["watermark is nan"]),
        ({"max_num_batched_tokens": 100, "max_num_seqs": 101}, ["100", "101", "--max-num-seqs"]),
    ],
)
def test_refused(settings: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        EngineConfig(**{"num_gpu_blocks": 100, **settings})
    message = str(caught.value)
    assert all(word in message for word in words)
    assert "\n" not in message


def test_one_block_is_vllms_null_block() -> None:
    config = EngineConfig(num_gpu_blocks=101, watermark=0.01)
    assert config.usable_blocks == 100
    assert config.watermark_blocks == 1
