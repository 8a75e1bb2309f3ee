from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model, kv_blocks, kv_bytes_per_token, kv_memory
from continuum_sim.hardware.parallel import Parallel

RECORDED = Path(__file__).parents[4] / "shared/gpu-runs/rtx4090-llama-3.1-8b/meta.json"


@pytest.mark.parametrize(
    ("model", "size"), [("llama-3.1-8b", 131_072), ("llama-3.1-70b", 327_680), ("qwen3-8b", 147_456)]
)
def test_kv_bytes_per_token_follow_the_heads(model: str, size: int) -> None:
    assert kv_bytes_per_token(find_model(model)) == size


def test_tensor_parallelism_divides_heads_and_replicates_what_is_left() -> None:
    model = find_model("llama-3.1-8b")
    assert [kv_bytes_per_token(model, size) * size / 131_072 for size in (1, 2, 4, 8, 16)] == [1, 1, 1, 1, 2]


def test_fp8_halves_the_cache() -> None:
    model = find_model("llama-3.1-8b")
    assert kv_bytes_per_token(model, kv_dtype="fp8_e4m3") == 65_536
    with pytest.raises(ConfigError, match="kv_dtype is 'int4', expected auto or one of bfloat16"):
        kv_bytes_per_token(model, kv_dtype="int4")


def test_sliding_layers_keep_at_most_their_window() -> None:
    model = find_model("gemma-3-12b")  # 8 full and 40 sliding layers of 8,192 bytes a token, window 1,024
    assert kv_bytes_per_token(model) == 48 * 8_192
    assert kv_bytes_per_token(model, context_tokens=1_000) == 48 * 8_192
    assert kv_bytes_per_token(model, context_tokens=4_096) == (8 + 40 / 4) * 8_192


def test_memory_adds_up() -> None:
    memory = kv_memory(find_model("llama-3.1-8b"), find_gpu("A100-80"))
    assert memory.weights_bytes == 2 * 8_030_261_248
    assert memory.block_bytes == 16 * 131_072
    taken = memory.weights_bytes + memory.activations_bytes + memory.runtime_bytes
    assert memory.kv_bytes == memory.usable_bytes - taken
    assert 0 <= memory.kv_bytes - memory.blocks * memory.block_bytes < memory.block_bytes


# GPU KV cache size in public logs of Llama-3.1-8B with the defaults of vLLM versions that took 0.9 of the memory
# (docs/step-time.md has the sources).
@pytest.mark.parametrize(("gpu", "tokens"), [("A100-40", 163_168)])
def test_estimates_are_near_what_vllm_logged(gpu: str, tokens: int) -> None:
    blocks = kv_blocks(find_model("llama-3.1-8b"), find_gpu(gpu), gpu_memory_utilization=0.9)
    assert blocks * 16 == pytest.approx(tokens, rel=0.03)


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded GPU run is not on this machine")
def test_the_block_count_of_a_recorded_engine_is_met_within_two_per_cent() -> None:
    meta = json.loads(RECORDED.read_text())
    arguments, cache = meta["engine_kwargs"], meta["kv_cache"]
    blocks = kv_blocks(
        find_model(meta["model"]),
        find_gpu(meta["hardware"]["device_name"]),
        gpu_memory_utilization=cache["gpu_memory_utilization"],
        block_size=cache["block_size"],
        max_num_batched_tokens=arguments["max_num_batched_tokens"],
        max_num_seqs=arguments["max_num_seqs"],
    )
    assert blocks == pytest.approx(cache["num_gpu_blocks"], rel=0.02)


def test_a_model_that_does_not_fit_is_refused_with_the_remedy() -> None:
    with pytest.raises(ConfigError, match=r"Llama-3\.1-70B does not fit 1 x H100: .*--tensor-parallel-size") as caught:
        kv_blocks(find_model("llama-3.1-70b"), find_gpu("h100"))
    assert "\n" not in str(caught.value)
    assert kv_blocks(find_model("llama-3.1-70b"), find_gpu("h100"), parallel=Parallel(4)) > 25_000


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"gpu_memory_utilization": 0.0}, "gpu_memory_utilization is 0.0"),
        ({"gpu_memory_utilization": 1.5}, "gpu_memory_utilization is 1.5"),
        ({"block_size": 0}, "block_size is 0"),
        ({"parallel": Parallel(3)}, "tensor_parallel_size is 3, which Llama-3.1-8B's 32 query and 8 KV heads"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        kv_blocks(find_model("llama-3.1-8b"), find_gpu("h100"), **settings)


@given(
    utilization=st.floats(0.5, 0.95),
    more=st.floats(0.0, 0.05),
    block_size=st.sampled_from([8, 16, 32, 64, 128]),
    size=st.sampled_from([1, 2, 4, 8]),
)
def test_more_memory_never_gives_fewer_blocks(utilization: float, more: float, block_size: int, size: int) -> None:
    model, gpu = find_model("qwen3-8b"), find_gpu("h200")

    def blocks(share: float, tokens: int) -> int:
        return kv_blocks(
            model,
            gpu,
            parallel=Parallel(size),
            gpu_memory_utilization=share,
            block_size=tokens,
        )

    assert blocks(utilization + more, block_size) >= blocks(utilization, block_size)
    assert 2 * blocks(utilization, 2 * block_size) <= blocks(utilization, block_size)
