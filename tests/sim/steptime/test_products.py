from __future__ import annotations

from collections import Counter

import pytest

from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime import Roofline, StepBatch
from continuum_sim.steptime.products import OVERLAP, SPEED, WAVE_S, Products, products

FLOPS = 1e12


def toy(outputs: float, inputs: float, bytes_per_s: float = 1e18) -> Products:
    return Products(Counter({(outputs, inputs): 1}), FLOPS, bytes_per_s, 16)


def tile_s(inputs: float) -> float:
    return 2 * 64 * 64 * inputs / (FLOPS / 16 * SPEED)


def test_a_row_more_than_a_tile_takes_a_larger_one() -> None:
    product = toy(64 * 16, 512)  # 16 tiles for up to 64 rows; 8 of four times the size, each in two parts, for more
    one, two = tile_s(512) + WAVE_S, 2 * tile_s(512) + WAVE_S
    assert [product.times_s(rows)[2] for rows in (1, 64, 65, 128)] == pytest.approx([one, one, two, two], rel=1e-6)


def test_many_rows_take_waves_of_large_tiles() -> None:
    assert toy(64 * 16, 512).times_s(1024)[2] == pytest.approx(4 * (4 * tile_s(512) + WAVE_S), rel=1e-6)


def test_the_inner_dimension_is_split_among_idle_multiprocessors() -> None:
    product = toy(64 * 4, 4096)  # 4 tiles: four parts each give every multiprocessor one
    assert product.times_s(64)[2] == pytest.approx(tile_s(4096) / 4 + WAVE_S, rel=1e-4)


def test_computing_and_reading_hide_each_other_in_part() -> None:
    product = toy(64 * 16, 512, bytes_per_s=1e11)
    computing_s, reading_s, both_s = product.times_s(64)
    assert reading_s == pytest.approx(2 * (1024 * 512 + 64 * (1024 + 512)) / 1e11)
    assert both_s == pytest.approx((computing_s**OVERLAP + reading_s**OVERLAP) ** (1 / OVERLAP))


def test_products_are_those_that_vllm_multiplies_at_once() -> None:
    found = products(find_model("llama-3.1-8b").known_weights(), 2, FLOPS, 1e12, 128)
    assert found is not None
    # Of each of two ranks and 32 layers: q, k, v; output; gate and up; down.
    assert found.shapes == {(3072, 4096): 32, (4096, 2048): 32, (14336, 4096): 32, (4096, 7168): 32}


def test_products_are_part_of_a_step() -> None:
    model = Roofline(find_model("llama-3.1-8b"), find_gpu("rtx-4090"), Parallel(1))
    batch = StepBatch(1, 96, 0, 96 * 97 // 2, 32, 32_000)
    part = next(part for part in model.parts(batch) if part.name == "linear")
    assert max(part.compute_s, part.memory_s) < part.seconds < part.compute_s + part.memory_s
    assert sum(part.seconds for part in model.parts(batch)) == pytest.approx(model.step_s(batch))
