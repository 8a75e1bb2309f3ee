"""What vLLM does not start is refused in its words; what it builds is not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from oracles.refresh import CONFIGS, read_answers

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import ModelSpec, find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.split_rules import check_split

EXPERTS = {"enable_expert_parallel": True}


def model_of(name: str) -> ModelSpec:
    return find_model(CONFIGS / name if (CONFIGS / name).is_dir() else name)


@pytest.mark.parametrize(
    ("name", "split", "said"),
    [
        ("llama-3.1-8b", {"tensor_parallel_size": 3}, r"attention heads \(32\) must be divisible by .* size \(3\)"),
        ("llama-3.1-8b", EXPERTS, "number of experts in the model must be greater than 0"),
        ("zamba2-2.7b", {"pipeline_parallel_size": 2}, "pipeline parallelism is not supported for this model"),
        ("llama-3.1-8b", {"pipeline_parallel_size": 40}, "above the 32 layers"),
        (
            "llama-3.1-8b",
            {"tensor_parallel_size": 4, "nodes": 3},
            r"nodes 3 must evenly divide the total world size \(4",
        ),
        ("llama-3.1-8b", {"data_parallel_size": 3, "tensor_parallel_size": 2, "nodes": 2}, "does not divide evenly"),
        # 2048 / 32 and 1536 / 8 columns of an expert, in blocks of 128 with a scale each
        (
            "deepseek-r1",
            {"data_parallel_size": 32},
            "output_size of gate's and up's weight = 64 is not divisible .* 128",
        ),
        (
            "mixtral-8x7b",
            {"tensor_parallel_size": 32, "data_parallel_size": 3},
            "14336 is not divisible by 96; give --en",
        ),
    ],
)
def test_a_split_that_vllm_refuses_is_refused_in_its_words(name: str, split: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        check_split(model_of(name), Parallel(**split))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("llama-3.1-8b", {"data_parallel_size": 3}),  # vLLM makes its ranks engines of their own
        ("llama-3.1-8b", {"tensor_parallel_size": 4, "pipeline_parallel_size": 2, "nodes": 2}),
        ("deepseek-r1", {"data_parallel_size": 32, **EXPERTS, "nodes": 4}),
        ("deepseek-r1", {"tensor_parallel_size": 16, "nodes": 2}),
        ("deepseek-r1", {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, "nodes": 2}),
    ],
)
def test_a_split_that_vllm_starts_is_accepted(name: str, split: dict[str, Any]) -> None:
    check_split(model_of(name), Parallel(**split))


def test_no_rule_refuses_a_model_that_vllm_built_on_some_gpus() -> None:
    built = [record for record in read_answers() if "error" not in record["answer"]]
    sizes = [record["question"].get("tensor_parallel_size", 1) for record in built]
    assert sum(size > 1 for size in sizes) > 200
    for record, size in zip(built, sizes, strict=True):
        if size > 1:
            check_split(model_of(record["config"]), Parallel(size))


@pytest.mark.engine
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("llama-3.1-8b", {"tensor_parallel_size": 3}),
        ("llama-3.1-8b", EXPERTS),
        ("zamba2-2.7b", {"pipeline_parallel_size": 2}),
        ("deepseek-r1", {"tensor_parallel_size": 8, "pipeline_parallel_size": 2, **EXPERTS}),
    ],
)
def test_the_words_are_those_of_vllms_own_check(name: str, split: dict[str, Any]) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    from vllm.config.model import ModelConfig

    model = model_of(name)
    theirs = _said(lambda: ModelConfig.verify_with_parallel_config(_as_vllm(ModelConfig, model), _asked(split)))
    ours = _said(lambda: check_split(model, Parallel(**split)))
    assert theirs.rstrip(".").lower() in ours.lower()
    assert bool(theirs) == bool(ours)


def _said(check: Any) -> str:
    try:
        check()
    except (ValueError, NotImplementedError, ConfigError) as error:
        return str(error)
    return ""


def _as_vllm(config: Any, model: ModelSpec) -> Any:
    told = SimpleNamespace(
        model_arch_config=SimpleNamespace(total_num_attention_heads=model.n_heads),
        registry=SimpleNamespace(is_pp_supported_model=lambda names, config: model.supports_pp),
        architectures=[],
        is_moe=model.n_experts > 0,
        use_mla=True,
        multimodal_config=None,
        hf_text_config=SimpleNamespace(),
    )
    told._verify_with_expert_parallelism = lambda: config._verify_with_expert_parallelism(told)
    return told


def _asked(split: dict[str, Any]) -> Any:
    sizes = {"tensor_parallel_size": 1, "pipeline_parallel_size": 1, "decode_context_parallel_size": 1}
    plain = {"enable_hc_sp": False, "enable_expert_parallel": False, "world_size_across_dp": 1}
    return SimpleNamespace(**plain | sizes | split)
