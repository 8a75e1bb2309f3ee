"""Weights and KV cache of models that are split over ranks, stages and experts."""

from __future__ import annotations

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model, kv_blocks, kv_memory
from continuum_sim.hardware.groups import model_groups
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.profiled_memory import activations_bytes
from continuum_sim.hardware.stages import stage_layers, stages

RANKS_OF_EXPERTS = Parallel(data_parallel_size=8, enable_expert_parallel=True)


def test_ranks_hold_all_of_a_dense_model() -> None:
    model, gpu = find_model("llama-3.1-8b"), find_gpu("h100")
    assert kv_memory(model, gpu, parallel=Parallel(data_parallel_size=8)) == kv_memory(model, gpu)


def test_experts_are_divided_over_all_ranks_and_the_rest_over_those_of_one() -> None:
    model = find_model("deepseek-r1")
    routed = sum(weight.bytes_on(Parallel()) for weight in model.expert_weights())
    rest = model.weight_bytes - routed
    for parallel in (RANKS_OF_EXPERTS, Parallel(data_parallel_size=8)):
        assert model.weight_bytes_per_rank(parallel) == pytest.approx(rest + routed / 8, rel=1e-3)
    assert model.weight_bytes_per_rank(Parallel(8)) == pytest.approx((rest + routed) / 8, rel=0.03)  # MLA's down: whole


@pytest.mark.parametrize(("ways", "most"), [(1, 256), (8, 32), (3, 86), (320, 1)])
def test_whole_experts_are_dealt_out_evenly(ways: int, most: int) -> None:
    parallel = Parallel(data_parallel_size=ways, enable_expert_parallel=True)
    for weight in find_model("deepseek-r1").expert_weights():
        assert weight.experts_on(parallel) == most
        assert weight.bytes_on(parallel) == weight.bytes_per_rank(1) // 256 * most
        assert weight.experts_on(Parallel(ways)) == 256  # a slice of each


def test_shared_experts_are_whole_where_ranks_divide_tokens() -> None:
    model = find_model("deepseek-r1")
    shared = [weight for weight in model.linear_weights() if "shared_expert" in weight.name]
    assert shared
    for weight in shared:
        both = Parallel(2, data_parallel_size=2, enable_expert_parallel=True)
        assert weight.bytes_on(both) == weight.bytes_per_rank(1)
        assert weight.bytes_on(Parallel(2, enable_expert_parallel=True)) == weight.bytes_per_rank(2)
        assert weight.bytes_on(Parallel(2, data_parallel_size=2)) == weight.bytes_per_rank(2)


def test_experts_work_on_the_tokens_of_all_ranks() -> None:
    model = find_model("deepseek-r1")
    of_one, of_all = (activations_bytes(model, each, 1024, 1) for each in (Parallel(8), RANKS_OF_EXPERTS))
    tokens, topk = 1024 * 8, 8
    # Both buffers of TritonExperts are as wide as the stream: 7168, more than gate and up of 2048 each.
    assert of_all == 2 * 1024 * 7168 * 2 + 3 * 1024 * 18432 * 2 + 2 * tokens * topk * 7168 * 2
    assert of_all > 7 * of_one


@pytest.mark.parametrize("name", ["llama-3.1-70b", "gpt-oss-120b", "qwen3-next-80b-a3b-instruct"])
def test_blocks_of_a_pipeline_are_those_of_the_stage_with_the_fewest(name: str) -> None:
    model, gpu, parallel = find_model(name), find_gpu("h200"), Parallel(pipeline_parallel_size=3)
    groups = model_groups(model)
    memory = kv_memory(model, gpu, parallel=parallel)
    parts, layers = stages(model, parallel), stage_layers(model, 3)
    block_bytes = [groups.stage_bytes_per_block(some) for some in layers]
    weights = [part.weight_bytes_per_rank(parallel) for part in parts]
    assert (memory.weights_bytes, memory.block_bytes) in zip(weights, block_bytes, strict=True)
    # Whatever a stage's activations are, one with more weights and larger blocks has no more blocks.
    slowest = max(zip(block_bytes, weights, strict=True))
    assert memory.block_bytes == slowest[0]
    assert sum(block_bytes) >= groups.bytes_per_block > max(block_bytes)


def test_a_pipeline_holds_more_than_the_same_gpus_one_by_one() -> None:
    model, gpu = find_model("llama-3.1-8b"), find_gpu("h100")
    assert kv_blocks(model, gpu, parallel=Parallel(pipeline_parallel_size=2)) > 2 * kv_blocks(model, gpu)


def test_a_split_that_does_not_fit_counts_all_its_gpus() -> None:
    with pytest.raises(ConfigError, match="does not fit 4 x H100"):
        kv_blocks(find_model("deepseek-r1"), find_gpu("h100"), parallel=Parallel(1, 2, 2))
