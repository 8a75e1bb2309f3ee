from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, dense_model, find_gpu, find_model, gpus
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime import Roofline, StepBatch, grown
from continuum_sim.steptime.roofline import SMALL_KERNEL_LATENCY_S, Settings
from support.toy_gpu import GPU, MODEL, SHAPES

RECORDED = Path(__file__).parents[4] / "shared/gpu-runs/rtx4090-llama-3.1-8b"

LAYER_WEIGHTS = 64 * (64 + 32 + 32) + 64 * 64 + 3 * 64 * 128  # queries, keys, values; output; gate, up, down
HEAD_WEIGHTS = 64 * 1024
MOVED = 2 * (
    2 * 4 * 64 + 2 * (64 + 32) + 4 * 32 + 3 * 128
)  # bytes a token and layer: norms, rotary, KV write, activation
KV_BYTES = 2 * 2 * 16 * 2  # a token and layer
SMALL_KERNELS = 2 * 5 * SMALL_KERNEL_LATENCY_S


def prompt(chunk: int, cached: int = 0, decodes: int = 0, context: int = 0) -> StepBatch:
    return StepBatch(1, chunk, cached, chunk * cached + chunk * (chunk + 1) // 2, decodes, context)


def test_a_decode_step_by_hand() -> None:
    # Eight requests over 800 tokens: every term waits for memory.
    weights = (2 * LAYER_WEIGHTS + HEAD_WEIGHTS) * 2 / 1e9
    expected = SMALL_KERNELS + weights + 8 * 2 * MOVED / 1e9 + 2 * 800 * KV_BYTES / 1e9
    assert Roofline(MODEL, GPU).step_s(StepBatch(0, 0, 0, 0, 8, 800)) == pytest.approx(expected, rel=1e-12)


def test_a_prefill_step_by_hand() -> None:
    # 4,000 tokens: 8,000 FLOP a weight beat reading it (2 bytes at 1,000 FLOP a byte); the LM head works on one row.
    pairs = 4000 * 4001 / 2
    attention = 2 * max(4 * 4 * 16 * pairs / 1e12, 4000 * KV_BYTES / 1e9)
    expected = (
        SMALL_KERNELS
        + 2 * 2 * LAYER_WEIGHTS * 4000 / 1e12
        + HEAD_WEIGHTS * 2 / 1e9
        + 4000 * 2 * MOVED / 1e9
        + attention
    )
    assert Roofline(MODEL, GPU).step_s(prompt(4000)) == pytest.approx(expected, rel=1e-12)


def test_prompts_and_decoding_requests_share_the_weights_but_not_attention() -> None:
    model = Roofline(MODEL, GPU)
    alone = model.step_s(prompt(10)), model.step_s(StepBatch(0, 0, 0, 0, 8, 800))
    together = model.step_s(prompt(10, decodes=8, context=800))
    weights = SMALL_KERNELS + (2 * LAYER_WEIGHTS + HEAD_WEIGHTS) * 2 / 1e9
    assert together == pytest.approx(sum(alone) - weights, rel=1e-12)


def test_tensor_parallelism_divides_the_work_and_adds_all_reduces() -> None:
    batch = StepBatch(0, 0, 0, 0, 8, 800)
    one = (2 * LAYER_WEIGHTS + HEAD_WEIGHTS) * 2 / 1e9 + 2 * 800 * KV_BYTES / 1e9
    # Norms move the whole stream on every GPU.
    moved = 8 * 2 * 2 * (2 * 4 * 64 + (2 * (64 + 32) + 4 * 32 + 3 * 128) / 2) / 1e9
    # Two a layer and one after the embedding; a ring of two sends a whole message over each link, at half its rate.
    reduces = 5 * (1e-5 + 8 * 64 * 2 / (1e8 * 0.5))
    expected = SMALL_KERNELS + one / 2 + moved + reduces
    assert Roofline(MODEL, GPU, Parallel(2)).step_s(batch) == pytest.approx(expected, rel=1e-12)


def test_a_window_caps_what_decoding_attends_to() -> None:
    windowed = dense_model("toy", **SHAPES, sliding_window=100, n_sliding_layers=1)
    full, half = Roofline(MODEL, GPU), Roofline(windowed, GPU)
    short, long = StepBatch(0, 0, 0, 0, 8, 800), StepBatch(0, 0, 0, 0, 8, 8 * 300)
    assert half.step_s(short) == full.step_s(short)
    assert full.step_s(long) - half.step_s(long) == pytest.approx(8 * 200 * KV_BYTES / 1e9, rel=1e-9)


def test_a_window_caps_what_a_prompt_attends_to() -> None:
    windowed = dense_model("toy", **SHAPES, sliding_window=100, n_sliding_layers=1)
    # 2,000 tokens on 500: a full layer computes 4·4·16 FLOP for each of 3,001,000 pairs, a sliding one for 200,000.
    spared = Roofline(MODEL, GPU).step_s(prompt(2000, 500)) - Roofline(windowed, GPU).step_s(prompt(2000, 500))
    compute, read = 4 * 4 * 16 / 1e12, KV_BYTES / 1e9
    assert spared == pytest.approx(
        max(compute * 3_001_000, read * 2500) - max(compute * 200_000, read * 2100), rel=1e-9
    )


@pytest.mark.parametrize(("cached", "roofs"), [(0, 3), (50, 3), (5_000, 1)])
def test_a_run_crosses_every_roof_it_meets(cached: int, roofs: int) -> None:
    # Small chunks on this machine read the cache at first and compute later, and outgrow the window.
    model = Roofline(
        dense_model("toy", **SHAPES, sliding_window=300, n_sliding_layers=1), replace(GPU, bf16_dense_flops=2e11)
    )
    batch = prompt(60, cached, decodes=5, context=1_000)
    slopes = {round(slope_s * 1e12) for steps, _, slope_s, _ in model.pieces(batch, 200) if steps > 1}
    assert len(slopes) >= roofs
    assert model.run_s(batch, 200) == pytest.approx(sum(model.step_s(grown(batch, j)) for j in range(200)), rel=1e-12)


@pytest.mark.parametrize("gpu", gpus(), ids=lambda gpu: gpu.name)
def test_no_step_beats_the_data_sheet(gpu: GpuSpec) -> None:
    model = find_model("llama-3.1-8b")
    bound = Roofline(model, gpu, settings=Settings(1.0, 1.0, 1.0, 1.0))
    measured = Roofline(model, gpu)
    weights_s = 2 * (model.n_params - model.vocab * model.hidden) / gpu.memory_bandwidth_bytes_per_s
    for batch in (StepBatch(0, 0, 0, 0, 1, 1), StepBatch(0, 0, 0, 0, 128, 300_000), prompt(2048), prompt(512, 30_000)):
        assert measured.step_s(batch) >= bound.step_s(batch) > weights_s * 0.99


@settings(deadline=None)
@given(
    chunk=st.integers(0, 4000),
    cached=st.integers(0, 30_000),
    decodes=st.integers(1, 300),
    each=st.integers(1, 5000),
    more=st.integers(1, 5000),
)
def test_more_work_never_takes_less_time(chunk: int, cached: int, decodes: int, each: int, more: int) -> None:
    model = Roofline(find_model("gemma-3-12b"), find_gpu("a100-80"))

    def step_s(chunk: int, cached: int, decodes: int, context: int) -> float:
        batch = prompt(chunk, cached, decodes, context) if chunk else StepBatch(0, 0, 0, 0, decodes, context)
        return model.step_s(batch)

    base = step_s(chunk, cached, decodes, decodes * each)
    assert step_s(chunk + more, cached, decodes, decodes * each) >= base
    assert step_s(chunk, cached + more, decodes, decodes * each) >= base
    assert step_s(chunk, cached, decodes, decodes * each + more) >= base
    assert step_s(chunk, cached, decodes + 1, (decodes + 1) * each) >= base


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"matmul_efficiency": 0.0}, "matmul_efficiency is 0.0, expected more than 0 and at most 1"),
        ({"weight_bandwidth_efficiency": 1.2}, "weight_bandwidth_efficiency is 1.2"),
        ({"decode_attention_efficiency": float("nan")}, "decode_attention_efficiency is nan"),
        ({"host_overhead_s": -1e-3}, "host_overhead_s is -0.001, expected zero or more"),
        ({"host_overhead_s": float("inf")}, "host_overhead_s is inf"),
    ],
)
def test_impossible_settings_are_refused(values: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        Settings(**values)


def test_host_overhead_is_added_to_every_step() -> None:
    batch = StepBatch(0, 0, 0, 0, 8, 800)
    plain, late = Roofline(MODEL, GPU), Roofline(MODEL, GPU, settings=Settings(host_overhead_s=0.5))
    assert late.run_s(batch, 10) == pytest.approx(plain.run_s(batch, 10) + 5, rel=1e-12)


def test_parallel_sizes_the_model_or_the_node_cannot_have_are_refused() -> None:
    with pytest.raises(ConfigError, match="tensor_parallel_size is 3, which toy's 4 query and 2 KV heads"):
        Roofline(MODEL, GPU, Parallel(3))
    refused = r"16 GPUs have to be connected, and a node has 8 H100 at most \(nvlink4\): give --nodes"
    with pytest.raises(ConfigError, match=refused):
        Roofline(find_model("llama-3.1-70b"), find_gpu("h100"), Parallel(16))


def test_the_description_states_every_number_in_use() -> None:
    said = Roofline(
        find_model("llama-3.1-8b"), find_gpu("h100"), Parallel(2), Settings(matmul_efficiency=0.5)
    ).describe()
    assert (said["matmul_efficiency"], said["weight_bandwidth_efficiency"], said["tensor_parallel_size"]) == (
        0.5,
        0.8,
        2,
    )
    assert "data sheet" in said["provenance"]["gpu"]


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded GPU run is not on this machine")
def test_steps_of_a_profiled_gpu_are_met_within_fifteen_per_cent() -> None:
    """Σ kernels of a step from the profile of an RTX 4090, at nodes of its tables, against the roofline."""
    dense: dict[int, float] = {}
    for row in csv.DictReader((RECORDED / "dense.csv").open()):
        once = row["layer"] in ("embedding", "final_layernorm")
        repeats = 1 if once else 64 if row["layer"] == "layernorm" else 32
        dense[int(row["tokens"])] = dense.get(int(row["tokens"]), 0.0) + repeats * float(row["time_us"]) * 1e-6
    head = {
        int(row["sequences"]): float(row["time_us"]) * 1e-6
        for row in csv.DictReader((RECORDED / "per_sequence.csv").open())
        if row["layer"] == "lm_head"
    }
    attention = {
        tuple(int(row[name]) for name in ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")): float(
            row["time_us"]
        )
        for row in csv.DictReader((RECORDED / "attention.csv").open())
    }
    model = Roofline(find_model("llama-3.1-8b"), find_gpu("rtx-4090"))
    for chunk, cached, decodes, kv in [
        (0, 0, 1, 1024),
        (0, 0, 16, 1024),
        (0, 0, 64, 1024),
        (0, 0, 128, 2048),
        (2048, 0, 0, 0),
        (2048, 8192, 0, 0),
        (1024, 1024, 0, 0),
    ]:
        kernels_s = dense[chunk + decodes] + head[decodes or 1] + 32e-6 * attention[chunk, cached, decodes, kv]
        batch = prompt(chunk, cached) if chunk else StepBatch(0, 0, 0, 0, decodes, decodes * kv)
        assert model.step_s(batch) == pytest.approx(kernels_s, rel=0.15), (chunk, cached, decodes, kv)
