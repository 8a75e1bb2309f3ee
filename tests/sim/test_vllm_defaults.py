"""vLLM's defaults and limits, as `run`, `compare`, `hardware` and the results of a run show them."""

from __future__ import annotations

import inspect
import json
from dataclasses import replace
from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim.hardware import find_gpu
from continuum_sim.hardware.kv import kv_blocks, kv_memory
from continuum_sim.scenarios import scenarios
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.aiconfigurator import estimate_kv_blocks
from continuum_sim.steptime.machines import machines
from continuum_sim.vllm_defaults import GPU_MEMORY_UTILIZATION, MIRRORED_VLLM
from support.cli import printed

FEW = ("--gpu", "h100", "--limit", "2", "--max-turns", "2")
NOTE = "note: vLLM would not start: FlashAttention on CUDA takes KV blocks of a multiple of 16 tokens"


@pytest.mark.parametrize(
    ("block_size", "near"), [(1, 16), (7, 16), (8, 16), (24, 32), (100, 96), (16, None), (32, None), (1024, None)]
)
def test_a_block_size_that_vllm_cannot_run_is_noted(
    capsys: pytest.CaptureFixture[str], block_size: int, near: int | None
) -> None:
    size = ("--block-size", str(block_size))
    shown = [
        printed(capsys, "run", "--policy", "lru", *FEW, *size),
        printed(capsys, "compare", "--policies", "lru,fcfs", "--seeds", "0", *FEW, *size).replace(
            "note (all): ", "note: "
        ),
        printed(capsys, "hardware", "--gpu", "h100", *size),
    ]
    for text in shown:
        assert text.count(NOTE) == (near is not None)
        assert near is None or f"not of {block_size}; set --block-size to {near}" in " ".join(text.split())
    notes = json.loads(printed(capsys, "hardware", "--gpu", "h100", *size, "--json"))["notes"]
    assert len(notes) == (near is not None)


def test_the_share_of_the_memory_is_092_wherever_it_has_a_default(capsys: pytest.CaptureFixture[str]) -> None:
    assert GPU_MEMORY_UTILIZATION == RunConfig.gpu_memory_utilization == 0.92
    for takes in (cs.run, kv_blocks, kv_memory, machines, estimate_kv_blocks):
        assert inspect.signature(takes).parameters["gpu_memory_utilization"].default == 0.92
    run = ("run", "--policy", "lru", *FEW)
    blocks = [printed(capsys, *run, *more).splitlines()[1] for more in ((), ("--gpu-memory-utilization", "0.92"))]
    assert "KV blocks" in blocks[0]
    assert blocks[0] == blocks[1]
    listed = printed(capsys, "hardware", "--gpu", "h100")
    assert listed == printed(capsys, "hardware", "--gpu", "h100", "--gpu-memory-utilization", "0.92")


def test_steps_are_planned_while_others_run_unless_told() -> None:
    steps = [
        cs.run(policy="lru", limit=2, max_turns=2, **asked).summary.steps  # type: ignore[arg-type]
        for asked in ({}, {"async_scheduling": True}, {"async_scheduling": False})
    ]
    assert steps[0] == steps[1] > steps[2]  # some are planned in vain


def test_scenarios_of_an_older_vllm_keep_its_defaults() -> None:
    older = [scenario for scenario in scenarios() if scenario.published]
    assert older
    for scenario in older:
        assert scenario.base["gpu_memory_utilization"] == 0.9, scenario.name
        assert "0.10.2" in scenario.choices["gpu_memory_utilization"]
        assert scenario.base["async_scheduling"] is False, scenario.name
        assert "0.10.2" in scenario.choices["async_scheduling"]


@pytest.mark.parametrize(
    ("gpu", "tokens", "requests"),
    [("b200", 16384, 1024), ("h200", 8192, 1024), ("h100", 8192, 1024), ("a100-80", 2048, 256), ("l40s", 2048, 256)],
)
def test_budgets_by_gpu(gpu: str, tokens: int, requests: int) -> None:
    card = find_gpu(gpu)
    assert (card.default_max_num_batched_tokens, card.default_max_num_seqs) == (tokens, requests)
    assert replace(card, name="MI300X", memory_bytes=192 << 30).default_max_num_batched_tokens == 16384


def test_a_run_says_which_vllm_it_follows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    printed(capsys, "run", "--policy", "lru", *FEW, "--out", tmp_path / "run")
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["versions"]["mirrored vLLM"] == MIRRORED_VLLM


@pytest.mark.engine
def test_they_are_those_of_the_installed_vllm() -> None:
    vllm = pytest.importorskip("vllm", reason="vLLM is not installed")
    from vllm.config import CacheConfig, SchedulerConfig

    assert vllm.__version__.startswith((MIRRORED_VLLM, "0.33"))
    assert CacheConfig.gpu_memory_utilization == GPU_MEMORY_UTILIZATION
    assert RunConfig.block_size == CacheConfig.DEFAULT_BLOCK_SIZE
    assert SchedulerConfig.async_scheduling is None  # `VllmConfig` turns it on where the executor supports it
