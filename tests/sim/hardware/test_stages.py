from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.stages import stage_layers, stages

MODELS = ("llama-3.1-8b", "llama-3.2-1b", "gpt-oss-20b", "deepseek-r1", "qwen3-next-80b-a3b-instruct")


def _counts(n_layers: int, size: int) -> list[int]:
    from dataclasses import replace

    model = replace(find_model("llama-3.1-8b"), n_layers=n_layers)
    return [len(layers) for layers in stage_layers(model, size)]


@pytest.mark.parametrize(
    ("n_layers", "size", "counts"),
    [
        (32, 1, [32]),
        (32, 4, [8, 8, 8, 8]),
        (61, 2, [31, 30]),  # DeepSeek-R1
        (61, 4, [15, 15, 16, 15]),
        (62, 4, [15, 16, 16, 15]),
        (63, 4, [16, 16, 16, 15]),
    ],
)
def test_layers_that_do_not_divide_go_to_the_stages_before_the_last(
    n_layers: int, size: int, counts: list[int]
) -> None:
    assert _counts(n_layers, size) == counts


@pytest.mark.engine
@pytest.mark.slow
@given(n_layers=st.integers(1, 130), size=st.integers(1, 16))
def test_layers_of_stages_are_those_of_vllm(n_layers: int, size: int) -> None:
    from vllm.distributed.utils import get_pp_indices

    if size <= n_layers:
        counts = _counts(n_layers, size)
        theirs = [get_pp_indices(n_layers, rank, size) for rank in range(size)]
        assert counts == [end - start for start, end in theirs]


def test_more_stages_than_layers_are_refused() -> None:
    with pytest.raises(ConfigError, match="pipeline_parallel_size is 33, above the 32 layers of Llama-3.1-8B"):
        stages(find_model("llama-3.1-8b"), Parallel(pipeline_parallel_size=33))


def test_one_stage_is_the_model_itself() -> None:
    model = find_model("llama-3.1-8b")
    assert stages(model, Parallel(tensor_parallel_size=8)) == (model,)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_stages_together_have_the_layers_caches_and_weights_of_the_model(name: str, size: int) -> None:
    model = find_model(name)
    parts = stages(model, Parallel(pipeline_parallel_size=size))
    assert sum(part.n_layers for part in parts) == model.n_layers
    cached = [sum(cache.n_layers for cache in part.caches) for part in parts]
    assert sum(cached) == sum(cache.n_layers for cache in model.caches)
    outside = sum(weight.n_params for part in parts for weight in part.weights if not weight.layers)
    once = sum(weight.n_params for weight in model.weights if not weight.layers)
    assert sum(part.n_params for part in parts) - outside == model.n_params - once
    for part in parts:
        assert all(0 <= layer < part.n_layers for cache in part.caches for layer in cache.layers)
        assert all(0 <= layer < part.n_layers for weight in part.weights for layer in weight.layers)


def test_embeddings_are_on_the_first_stage_and_the_head_on_the_last() -> None:
    parts = stages(find_model("llama-3.1-8b"), Parallel(pipeline_parallel_size=3))
    outside = [[weight.name for weight in part.weights if not weight.layers] for part in parts]
    assert outside == [["model.embed_tokens"], [], ["model.norm", "lm_head"]]
    assert [len(part.head_weights()) for part in parts] == [0, 0, 1]


def test_tied_embeddings_are_on_the_last_stage_too() -> None:
    parts = stages(find_model("llama-3.2-1b"), Parallel(pipeline_parallel_size=2))
    outside = [[weight.name for weight in part.weights if not weight.layers] for part in parts]
    assert outside == [["model.embed_tokens"], ["model.norm", "model.embed_tokens"]]
    assert [len(part.head_weights()) for part in parts] == [0, 1]
