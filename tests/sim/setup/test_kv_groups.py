"""Runs have the KV cache groups of their model, whatever its layers keep, or say why not."""

from __future__ import annotations

from pathlib import Path

import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.errors import ConfigError
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.fitted import Fitted
from continuum_sim.traces import Program, Turn
from support.cli import printed, refused

CONFIGS = Path(__file__).parents[2] / "oracles/configs"
ONE = [Program("a", (Turn(100, 0, 4),))]
TIMED = Fitted(c0_s=0.002, per_token_s=1e-4, per_decode_context_token_s=2e-9, per_prefill_pair_s=1e-9, provenance={})


def config(model: str, **settings: object) -> RunConfig:
    asked = {"policy": "lru", "gpu": "h200", "tensor_parallel_size": 4, "step_time": TIMED, **settings}
    return RunConfig(model=str(CONFIGS / model), trace=ONE, **asked)  # type: ignore[arg-type]


def engine(model: str, **settings: object) -> EngineConfig:
    return resolve(config(model, **settings)).engine


# Kinds and sizes as vLLM 0.32 answers (tests/oracles/answers.json).
@pytest.mark.parametrize(
    ("model", "settings", "groups"),
    [
        ("qwen3-next-80b-a3b", {}, {("recurrent", 272): 3, ("full", 272): 1}),
        ("qwen3-next-80b-a3b", {"kv_cache_dtype": "fp8"}, {("recurrent", 544): 3, ("full", 544): 1}),
        ("kimi-linear-48b-a3b", {}, {("recurrent", 512): 3, ("full", 512): 1}),
        ("granite-4.0-h-tiny", {"tensor_parallel_size": 1}, {("recurrent", 400): 9, ("full", 400): 1}),
        ("gpt-oss-20b", {}, {("sliding", 16): 1, ("full", 16): 1}),
        ("llama-4-scout", {"max_model_len": 8192}, {("chunked", 16): 3, ("full", 16): 1}),
        (
            "deepseek-v4-flash",
            {"block_size": 256},
            {("sliding", 64): 2, ("full", 256): 1, ("sliding", 4): 1, ("sliding", 8): 1},
        ),
        ("qwen3-8b", {}, {}),
        ("deepseek-v3", {"tensor_parallel_size": 8}, {}),
    ],
)
def test_a_run_has_the_groups_of_vllm(
    model: str, settings: dict[str, object], groups: dict[tuple[str, int], int]
) -> None:
    made = engine(model, **settings)
    counted: dict[tuple[str, int], int] = {}
    for group in made.kv_cache_groups:
        counted[group.kind, group.block_size] = counted.get((group.kind, group.block_size), 0) + 1
    assert counted == groups
    if groups:
        assert made.block_size == max(size for _, size in groups)


def test_states_raise_the_blocks_of_attention_and_of_the_engine() -> None:
    made = engine("qwen3-next-80b-a3b", tensor_parallel_size=2)
    assert made.block_size == 544
    # Each of 4 groups holds one layer's keys and values of 544 tokens in each of its 12 layers.
    kv_bytes = made.num_gpu_blocks * 12 * 544 * 2 * 256 * 2
    assert kv_bytes == pytest.approx(51e9, rel=0.1)


def test_mamba_2_saves_states_during_a_prefill() -> None:
    kinds = {group.kind: group.checkpoints for group in engine("granite-4.0-h-tiny").kv_cache_groups}
    assert kinds == {"recurrent": True, "full": False}


def test_without_prefix_caching_a_block_holds_the_state_of_a_whole_request() -> None:
    made = engine("qwen3-next-80b-a3b", enable_prefix_caching=False, max_model_len=100_000)
    assert {group for group in made.kv_cache_groups if group.kind == "recurrent"} == {GroupSpec("recurrent", 100_000)}
    assert made.block_size == 272


def test_a_model_that_keeps_states_only() -> None:
    run = resolve(config("falcon-mamba-7b", max_model_len=50_000))
    made = run.engine
    assert made.kv_cache_groups == (GroupSpec("recurrent", 50_000),)
    assert not made.enable_prefix_caching
    assert made.blocks_of(50_000) == 1
    assert any("keeps states only" in note for note in run.notes)
    # 64 layers: 3 of 4 convolution columns and 16 states for 8,192 channels, over 4 GPUs, in bf16.
    assert made.num_gpu_blocks * 64 * 19 * 2048 * 2 == pytest.approx(129e9, rel=0.1)
    with pytest.raises(ConfigError, match="vLLM lacks for falcon-mamba-7b, as it keeps states only"):
        resolve(config("falcon-mamba-7b", policy="ttl"))


def test_layouts_that_vllm_or_the_engine_has_not_are_named() -> None:
    with pytest.raises(
        ConfigError, match="vLLM does not start: these layers cannot share one KV cache group; leave --disable-hybrid"
    ):
        engine("qwen3-next-80b-a3b", disable_hybrid_kv_cache_manager=True)
    with pytest.raises(ConfigError, match=r"recurrent layers, .* above --dram-gb .* --kv-offloading-size"):
        engine("qwen3-next-80b-a3b", dram_gb=100.0)
    with pytest.raises(ConfigError, match="vLLM needs chunked prefill"):
        engine("qwen3-next-80b-a3b", enable_chunked_prefill=False, max_model_len=8192)


def test_blocks_that_vllm_would_choose_are_named() -> None:
    for block_size, said in ((16, True), (256, False)):
        notes = resolve(config("deepseek-v4-flash", block_size=block_size)).notes
        assert any("give --block-size 256" in note for note in notes) is said


def test_one_group_where_vllm_is_told_so() -> None:
    for model in ("gpt-oss-20b", "llama-4-scout"):
        made = engine(model, disable_hybrid_kv_cache_manager=True, max_model_len=8192)
        assert made.kv_cache_groups == ()


def test_windows_in_all_layers_are_one_group_with_and_without_the_flag() -> None:
    for off in (False, True):
        groups = engine("mistral-7b-v0.1", disable_hybrid_kv_cache_manager=off).kv_cache_groups
        assert groups == (GroupSpec("sliding", 16, 4096),)


def test_host_memory_below_states_holds_blocks_of_a_group() -> None:
    tiers = engine("qwen3-next-80b-a3b", tensor_parallel_size=2, kv_offloading_size=100.0).tiers
    assert tiers is not None
    assert tiers.block_bytes == 2 * 12 * 544 * 2 * 256 * 2


def test_types_of_the_cache_and_groups_go_together(capsys: pytest.CaptureFixture[str]) -> None:
    asked = {"trace": ONE, "policy": "lru", "model": "gemma-3-12b", "gpu": "a100-80"}
    whole, half = (resolve(RunConfig(**asked, kv_cache_dtype=dtype)).engine for dtype in ("auto", "fp8"))  # type: ignore[arg-type]
    assert half.kv_cache_groups == whole.kv_cache_groups
    assert half.num_gpu_blocks in (2 * whole.num_gpu_blocks, 2 * whole.num_gpu_blocks + 1)
    run = ("run", "--limit", 1, "--max-turns", 2, "--policy", "lru", "--gpu", "a100-80", "--model", "gemma-3-12b")
    assert f"{half.num_gpu_blocks:,} KV blocks" in printed(capsys, *run, "--kv-cache-dtype", "fp8")


def test_a_user_runs_a_folder_with_states(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    fit = tmp_path / "fit.json"
    terms = '"per_token_s": 2e-5, "per_decode_context_token_s": 2e-9, "per_prefill_pair_s": 1e-10'
    fit.write_text(f'{{"kind": "fitted", "c0_s": 0.004, {terms}, "provenance": {{}}}}')
    timed = ("--gpu", "h200", "--step-time", f"fitted:{fit}")
    said = printed(
        capsys, "run", "--limit", 2, "--max-turns", 3, *timed, "--tp", 2, "--model", CONFIGS / "qwen3-next-80b-a3b"
    )
    assert "KV blocks of 544 tokens" in said
    assert "not counted" not in said
    said = refused(capsys, "run", "--limit", 1, *timed, "--model", CONFIGS / "falcon-mamba-7b")
    assert "keeps states only; take another, such as lru" in said
