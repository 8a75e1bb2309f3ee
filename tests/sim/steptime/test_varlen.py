from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from statistics import median, quantiles

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.steptime import Roofline, StepBatch
from continuum_sim.steptime.varlen import BANDWIDTH_SHARE, BLEND, CALL_S, LAST_TILES, TILE_S, Tiled, tiled

SHARED = Path(__file__).parents[4] / "shared"
TABLES = [(SHARED / "gpu-runs/rtx4090-llama-3.1-8b", "llama-3.1-8b", "rtx-4090", 1)] + [
    (SHARED / f"gpu-profiles/rtx-pro-6000/{folder}/tp{size}", name, "rtx-pro-6000", size)
    for folder, name in (
        ("Llama-3.1-8B", "llama-3.1-8b"),
        ("Qwen3-32B", "qwen3-32b"),
        ("Qwen3-30B-A3B-Instruct-2507", "qwen3-30b-a3b"),
    )
    for size in (1, 2)
]

# Four query heads over two KV heads on eight multiprocessors, a nanosecond a token of a tile; reading takes nothing.
TOY = Tiled(
    n_layers=1,
    window=0.0,
    heads=4,
    sharing=2.0,
    multiprocessors=8,
    token_s=1e-9,
    half_block=64.0,
    token_bytes=512.0,
    read_s=0.0,
    cache_tokens=1e12,
)
FIXED_S = TILE_S + 64e-9


def prompt(chunk: int, cached: int = 0, decodes: int = 0, context: int = 0) -> StepBatch:
    return StepBatch(1, chunk, cached, chunk * cached + chunk * (chunk + 1) // 2, decodes, context)


def seconds(layer: Tiled, batch: StepBatch) -> float:
    return layer.times_s(*batch)[2]


def test_one_tile_a_head_passes_over_its_context() -> None:
    # 64 queries after 1,000 tokens: each attends to 1,032.5 on average, their tile to all 1,064.5.
    assert seconds(TOY, prompt(64, 1000)) == pytest.approx(CALL_S + FIXED_S + 1064.5e-9)


def test_a_decoding_request_takes_a_tile_of_each_head_and_its_context_is_not_split() -> None:
    # Three requests have 12 tiles, two rounds on 8 multiprocessors; the prompt's four short tiles fill the rest.
    batch = prompt(1, 0, decodes=3, context=3 * 5000)
    assert seconds(TOY, batch) == pytest.approx(CALL_S + 2 * (FIXED_S + 5000e-9))


def test_tiles_of_unequal_length_leave_multiprocessors_idle_at_the_end() -> None:
    # 512 queries are 8 tiles a head, 32 in all: four a multiprocessor, 288.5 tokens each on average.
    layer = replace(TOY, heads=8)
    assert seconds(layer, prompt(512)) == pytest.approx(CALL_S + (8 + LAST_TILES) * (FIXED_S + 288.5e-9))


def test_a_window_is_all_that_a_tile_passes_over() -> None:
    layer = replace(TOY, window=100.0)
    assert seconds(layer, prompt(64, 1000)) == pytest.approx(CALL_S + FIXED_S + 164e-9)


def test_computing_and_reading_hide_each_other_in_part() -> None:
    layer = replace(TOY, read_s=2e-9)
    computing_s, reading_s = FIXED_S + 1064.5e-9, 2e-9 * 1064
    assert seconds(layer, prompt(64, 1000)) == pytest.approx(
        CALL_S + (computing_s**BLEND + reading_s**BLEND) ** (1 / BLEND)
    )


def test_heads_that_share_a_cache_read_it_again_once_it_outgrows_the_l2_cache() -> None:
    batch = prompt(64, 100_000, decodes=31, context=31 * 100_000)
    fits, outgrown = (replace(TOY, token_s=0.0, read_s=1e-6, cache_tokens=n).times_s(*batch)[1] for n in (1e9, 1.0))
    assert outgrown == pytest.approx(2 * fits)


def test_shapes_come_from_the_model_and_the_gpu() -> None:
    (layer,) = tiled(find_model("llama-3.1-8b"), find_gpu("rtx-4090"), 2)
    assert (layer.n_layers, layer.heads, layer.sharing, layer.multiprocessors) == (32, 16, 4.0, 128)
    assert layer.token_s == pytest.approx(64 * 4 * 128 / (165.2e12 / 128 * 0.82))
    assert layer.read_s == pytest.approx(4 * 512 / (1008e9 * BANDWIDTH_SHARE))


@pytest.mark.parametrize(
    ("model", "gpu"),
    [("llama-3.1-8b", "a100-80"), ("llama-3.1-8b", "h100"), ("deepseek-v3", "rtx-pro-6000")],
    ids=["no table of mixed steps", "FlashAttention 3", "latent attention"],
)
def test_where_it_does_not_apply(model: str, gpu: str) -> None:
    assert tiled(find_model(model), find_gpu(gpu), 1) == ()


def test_an_fp8_cache_goes_through_another_kernel() -> None:
    model = replace(find_model("llama-3.1-8b"), kv_dtype_bytes=1)
    assert tiled(model, find_gpu("rtx-4090"), 1) == ()


@given(
    chunk=st.integers(1, 4000),
    cached=st.integers(0, 30_000),
    decodes=st.integers(1, 256),
    each=st.integers(1, 5000),
)
def test_decoding_beside_a_prompt_never_takes_less_than_the_work_of_all_tiles(
    chunk: int, cached: int, decodes: int, each: int
) -> None:
    """Whatever runs beside what, multiprocessors cannot be more than busy."""
    computing_s = TOY.times_s(*prompt(chunk, cached, decodes, decodes * each))[0]
    tiles = -(-chunk // 64) * 4
    length = cached + (chunk + 1) / 2 + min(chunk, 64) / 2
    work_s = tiles * (FIXED_S + length * 1e-9) + decodes * 4 * (FIXED_S + each * 1e-9)
    assert computing_s >= work_s / 8 * (1 - 1e-9)


@pytest.mark.parametrize(("folder", "model", "gpu", "size"), TABLES)
def test_mixed_rows_of_measured_kernels(folder: Path, model: str, gpu: str, size: int) -> None:
    """The PRO 6000's gave the constants, the RTX 4090's nothing: only its pure rows its catalogue entry."""
    if not folder.exists():
        pytest.skip("the kernel tables are not in this checkout")
    (layer,) = tiled(find_model(model), find_gpu(gpu), size)
    errors = defaultdict(list)
    with (folder / "attention.csv").open() as lines:
        for row in csv.DictReader(lines):
            chunk, cached, decodes, each = (
                int(float(row[name])) for name in ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")
            )
            if chunk and decodes:
                found_s = seconds(layer, prompt(chunk, cached, decodes, decodes * each))
                size_class = next(most for most in (64, 256, 1024, 10**9) if chunk <= most)
                errors[size_class].append(abs(found_s / (float(row["time_us"]) * 1e-6) - 1))
    assert len(errors) == 4
    for found in errors.values():
        assert median(found) < 0.085
        assert quantiles(found, n=10)[-1] < 0.26


def test_a_prompt_beside_decodes_costs_more_than_its_parts() -> None:
    """200 tokens beside 127 requests over 1,100 each took 41.5 ms on an RTX PRO 6000 with vLLM 0.19."""
    model = Roofline(find_model("llama-3.1-8b"), find_gpu("rtx-pro-6000"))
    assert model.step_s(prompt(200, 0, 127, 127 * 1100)) == pytest.approx(41.5e-3, rel=0.05)
