"""`--kv-cache-dtype`: one setting determines the bytes of blocks, of attention's reads and of memory tiers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.kv import served_with
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime import Roofline, StepBatch
from continuum_sim.sweeps.identity import Lookup
from continuum_sim.traces import Program, Turn
from support.cli import printed, refused

ONE = [Program("a", (Turn(100, 0, 4),))]


def config(kv_cache_dtype: str, **settings: object) -> RunConfig:
    asked = {"model": "qwen3-8b", "gpu": "a100-80", "dram_gb": 100.0, "ssd_gb": 100.0, **settings}
    return RunConfig(trace=ONE, policy="lru", kv_cache_dtype=kv_cache_dtype, **asked)  # type: ignore[arg-type]


def test_blocks_and_tiers_of_half_the_bytes() -> None:
    """As reported in vllm-project/vllm#42058: Qwen3-8B on an A100-80 has twice the tokens."""
    whole, half = resolve(config("auto")).engine, resolve(config("fp8")).engine
    assert half.num_gpu_blocks in (2 * whole.num_gpu_blocks, 2 * whole.num_gpu_blocks + 1)
    assert whole.tiers is not None
    assert half.tiers is not None
    assert (half.tiers.block_bytes, half.tiers.dram_blocks) == (16 * 73_728, 84_771)
    assert half.tiers.dram_block_s == whole.tiers.dram_block_s / 2
    assert resolve(config("bfloat16")).engine == whole


def test_attention_reads_half_and_nothing_else_changes() -> None:
    model, gpu = find_model("llama-3.1-8b"), find_gpu("h100")
    whole, half = (Roofline(served_with(model, dtype), gpu) for dtype in ("auto", "fp8_e5m2"))
    far = StepBatch(0, 0, 0, 0, 16, 16 * 60_000)
    near = far._replace(decode_context_tokens=16)
    gather = gpu.memory_bandwidth_bytes_per_s * gpu.decode_attention_efficiency
    read_s = 32 * 2 * 8 * 128 * 2 * far.decode_context_tokens / gather
    assert seconds(whole, far) - seconds(half, far) == pytest.approx(read_s / 2, rel=1e-3)
    assert seconds(whole, near) == pytest.approx(seconds(half, near), rel=1e-3)


def seconds(model: Roofline, batch: StepBatch) -> float:
    return float(model.pieces(batch, 1)[0][1])


def test_a_model_that_was_measured_with_other_bytes_says_so(tmp_path: Path) -> None:
    fit = tmp_path / "fit.json"
    terms = '"per_token_s": 2e-5, "per_decode_context_token_s": 2e-9, "per_prefill_pair_s": 1e-10'
    fit.write_text(f'{{"kind": "fitted", "c0_s": 0.004, {terms}, "provenance": {{}}}}')
    said = [note for note in resolve(config("fp8", step_time=f"fitted:{fit}")).notes if "KV cache" in note]
    assert said == [
        f"--step-time fitted:{fit} knows nothing of a KV cache of fp8: attention takes as long as where it was measured"
    ]
    assert not [note for note in resolve(config("auto", step_time=f"fitted:{fit}")).notes if "KV cache of" in note]
    assert not [note for note in resolve(config("fp8")).notes if "KV cache of" in note]


def test_sweeps_take_it_and_keep_older_identities() -> None:
    model = find_model("llama-3.1-8b")
    known = Lookup()
    plain, fp8 = (known.identify(config(dtype), "0")[1] for dtype in ("auto", "fp8"))
    assert plain != fp8
    assert known.identify(replace(config("auto"), model=replace(model, kv_dtype_bytes=None)), "0")[1] != fp8
    frame = cs.sweep(["lru"], trace=ONE, vary={"kv_cache_dtype": ["auto", "fp8"]}, jobs=1).frame()
    assert list(frame["kv_cache_dtype"]) == ["auto", "fp8"]


def test_the_flag(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    flags = ("run", "--policy", "lru", "--limit", "2", "--max-turns", "2", "--kv-cache-dtype")
    assert "58,206 KV blocks" in printed(capsys, *flags, "fp8").replace("58,207", "58,206")
    assert "--kv-cache-dtype" in refused(capsys, *flags, "int4")
