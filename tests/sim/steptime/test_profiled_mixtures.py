"""Published profiles: experts over tokens and experts touched, splits, and the sum of all tables by hand."""

from __future__ import annotations

import csv
import shutil
from functools import cache
from pathlib import Path

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.links import find_link
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime import NO_WORK, Profiled, StepBatch, grown
from continuum_sim.steptime.experts import Routing
from continuum_sim.steptime.profile_experts import Experts, ExpertTable
from continuum_sim.steptime.profile_tables import ProfileTables, read_profile
from continuum_sim.steptime.profiled import load_profiled
from support.configurations import configured
from support.profiles import write_profile

PROFILES = Path(__file__).parents[4] / "shared/gpu-profiles/rtx-pro-6000"
CARD = find_gpu("rtx-pro-6000")
QWEN = PROFILES / "Qwen3-30B-A3B-Instruct-2507"
profiles = pytest.mark.skipif(not PROFILES.is_dir(), reason="the profiles of a GPU are not on this machine")

TABLE = ExpertTable((1, 2, 4), (((2,), (1.0,)), ((2, 4), (2.0, 4.0)), ((2, 4), (3.0, 7.0))))


def test_experts_are_interpolated_along_both_axes() -> None:
    assert TABLE.time_s(1, 2) == 1
    assert TABLE.time_s(2, 3) == 3
    assert TABLE.time_s(3, 3) == (3 + 5) / 2
    assert TABLE.time_s(4, 5) == 9
    assert TABLE.time_s(8, 4) == 7 + 2 * (7 - 4)
    assert TABLE.time_s(0, 0) == 0
    # Two tokens on 2 of 4 each touch three on average.
    assert Experts(TABLE, 2, 4, 10).time_s(2) == 10 * 3


@cache
def tables(folder: Path, size: int = 1) -> ProfileTables:
    """Read once what takes a second or more."""
    return read_profile(folder, size)


@cache
def qwen() -> Profiled:
    return Profiled(tables(QWEN / "tp1"), configured("qwen3-30b-a3b"))


@cache
def rows(path: Path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


def unequal(model: Profiled, chunk: int, cached: int, decodes: int, kv: int) -> float:
    """Return how much longer attention takes because contexts differ (`test_profile_skew.py`)."""
    assert model.tables.skew is not None
    if not decodes:
        return 1.0
    return float(model.tables.skew.factors((chunk,), (cached,), (decodes,), (kv,))[0, 0, 0, 0])


def by_hand(prompts: int, chunk: int, cached: int, decodes: int, kv: int) -> float:
    """Sum the rows of the tables that hold a step, in seconds: nodes of all tables but that of the experts."""
    tokens, total = chunk + decodes, 0.0
    for row in rows(QWEN / "tp1/dense.csv"):
        if int(row["tokens"]) == tokens:
            once = row["layer"] in ("embedding", "final_layernorm")
            total += float(row["time_us"]) * (1 if once else 96 if row["layer"] == "layernorm" else 48)
    for row in rows(QWEN / "tp1/per_sequence.csv"):
        if int(row["sequences"]) == prompts + decodes:
            total += float(row["time_us"])
    for row in rows(QWEN / "tp1/attention.csv"):
        if tuple(int(row[name]) for name in ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")) == (
            *(chunk, cached, decodes, kv),
        ):
            total += 48 * float(row["time_us"]) * unequal(qwen(), chunk, cached, decodes, kv)
    touched = 128 * (1 - (1 - 8 / 128) ** tokens)
    experts = {(int(r["tokens"]), int(r["activated_experts"])): float(r["time_us"]) for r in rows(QWEN / "tp1/moe.csv")}
    low, high = (8, 16) if touched < 16 else (16, 32) if touched < 32 else (32, 64) if touched < 64 else (64, 128)
    share = (touched - low) / (high - low)
    of_layer = (
        experts[tokens, low] if share == 0 else (1 - share) * experts[tokens, low] + share * experts[tokens, high]
    )
    return (total + 48 * of_layer) * 1e-6


@profiles
@pytest.mark.parametrize(
    ("prompts", "chunk", "cached", "decodes", "kv"),
    [
        (0, 0, 0, 1, 1024),
        (0, 0, 0, 2, 256),
        (0, 0, 0, 8, 4096),
        (0, 0, 0, 32, 8192),
        (0, 0, 0, 64, 768),
        (0, 0, 0, 128, 2048),
        (0, 0, 0, 256, 512),
        (1, 512, 0, 0, 0),
        (1, 1024, 8192, 0, 0),
        (1, 2048, 2592, 0, 0),
        (1, 64, 1024, 0, 0),
    ],
)
def test_qwen3_30b_a3b_is_the_sum_of_its_tables(prompts: int, chunk: int, cached: int, decodes: int, kv: int) -> None:
    model = qwen()
    batch = StepBatch(prompts, chunk, cached, chunk * cached + chunk * (chunk + 1) // 2, decodes, decodes * kv)
    assert model.step_s(batch) == pytest.approx(by_hand(prompts, chunk, cached, decodes, kv), rel=0.03)


@profiles
def test_tables_of_a_mixture_and_of_a_dense_model_are_told_apart(tmp_path: Path) -> None:
    shutil.copytree(QWEN / "tp2", tmp_path / "tp2")
    with pytest.raises(ConfigError, match=r"qwen3-30b-a3b is a mixture .*no .*tp2/moe\.csv; give a profile with one"):
        load_profiled(tmp_path / "tp2", configured("qwen3-30b-a3b"), Parallel(2), gpu=CARD)
    shutil.copytree(QWEN / "tp1", tmp_path / "tp1")
    with pytest.raises(ConfigError, match=r"moe\.csv: has times of experts, but Qwen3-8B has none"):
        load_profiled(tmp_path / "tp1", find_model("qwen3-8b"))
    with pytest.raises(ConfigError, match="profiles a model with num_key_value_heads 2, but Qwen3-8B has 8"):
        Profiled(tables(QWEN / "tp1"), find_model("qwen3-8b"))
    with pytest.raises(ConfigError, match="its attention is that of keys and values, and deepseek-v3"):
        Profiled(tables(QWEN / "tp1"), configured("deepseek-v3"))


@profiles
@pytest.mark.parametrize("name", ["Llama-3.1-8B", "Qwen3-32B"])
@pytest.mark.parametrize("size", [1, 2])
def test_the_dense_models_on_overlapping_grids_load(name: str, size: int) -> None:
    model = Profiled(tables(PROFILES / name / f"tp{size}", size), find_model(name.lower()), Parallel(size), gpu=CARD)
    assert (
        0.003 / size < model.step_s(StepBatch(0, 0, 0, 0, 1, 16)) < model.step_s(StepBatch(0, 0, 0, 0, 64, 64 * 2048))
    )


@profiles
@pytest.mark.parametrize("link", [None, "pcie5:no-p2p", "latency_us=0,bandwidth_gbps=1e9"])
@pytest.mark.parametrize(
    ("prompts", "chunk", "cached", "decodes", "kv"), [(0, 0, 0, 32, 4096), (1, 2048, 0, 0, 0), (1, 512, 0, 0, 0)]
)
def test_two_gpus_are_the_sum_of_their_tables_and_of_what_they_tell_each_other(
    link: str | None, prompts: int, chunk: int, cached: int, decodes: int, kv: int
) -> None:
    """Llama-3.1-8B: the embedding's all-reduce and two of each layer, and the logits gathered, by hand."""
    read = tables(PROFILES / "Llama-3.1-8B/tp2", 2)
    model = Profiled(read, find_model("llama-3.1-8b"), Parallel(2, link=link), gpu=CARD)
    batch = StepBatch(prompts, chunk, cached, chunk * cached + chunk * (chunk + 1) // 2, decodes, decodes * kv)
    tokens, rows_of_logits, us = chunk + decodes, prompts + decodes, 0.0
    for row in rows(PROFILES / "Llama-3.1-8B/tp2/dense.csv"):
        if int(row["tokens"]) == tokens:
            once = row["layer"] in ("embedding", "final_layernorm")
            us += float(row["time_us"]) * (1 if once else 64 if row["layer"] == "layernorm" else 32)
    for row in rows(PROFILES / "Llama-3.1-8B/tp2/per_sequence.csv"):
        us += float(row["time_us"]) if int(row["sequences"]) == rows_of_logits else 0.0
    asked = (chunk, cached, decodes, kv)
    for row in rows(PROFILES / "Llama-3.1-8B/tp2/attention.csv"):
        if tuple(int(row[name]) for name in ("prefill_chunk", "kv_prefill", "n_decode", "kv_decode")) == asked:
            us += 32 * float(row["time_us"]) * unequal(model, chunk, cached, decodes, kv)
    told = find_link(link or "pcie5")
    reduce_s, reduced = told.reached("all_reduce", 2)
    gather_s, gathered = told.reached("all_gather", 2)
    # A ring of two sends a message once to reduce it, and half of it to gather it.
    talk_s = 65 * (reduce_s + tokens * 4096 * 2 / (told.bytes_per_s * reduced))
    talk_s += gather_s + rows_of_logits * 128256 * 2 / 2 / (told.bytes_per_s * gathered)
    assert model.step_s(batch) == pytest.approx(us * 1e-6 + talk_s, rel=1e-9)
    assert (talk_s > 0.05 * us * 1e-6) == (link != "latency_us=0,bandwidth_gbps=1e9")


@profiles
def test_whole_experts_are_timed_on_ranks_that_share_them() -> None:
    spread = Parallel(data_parallel_size=4, enable_expert_parallel=True)
    model = Profiled(tables(QWEN / "tp1"), configured("qwen3-30b-a3b"), spread, gpu=CARD)
    batch = StepBatch(0, 0, 0, 0, 64, 64 * 2048)
    # 256 tokens of all ranks at a quarter of the experts take less than at all of them, and more than a quarter.
    assert model.step_s(batch) > qwen().step_s(batch) - 0.9 * 48 * qwen_experts_s(64)
    assert model.together_s([batch, NO_WORK, NO_WORK, NO_WORK]) == pytest.approx(model.step_s(batch), rel=1e-12)
    assert model.together_s([grown(batch, 1000), batch, batch, batch]) > model.step_s(batch)
    with pytest.raises(ConfigError, match="times whole experts, but 4 data-parallel ranks have a part of each"):
        Profiled(tables(QWEN / "tp1"), configured("qwen3-30b-a3b"), Parallel(data_parallel_size=4), gpu=CARD)
    with pytest.raises(ConfigError, match="4 GPUs tell one another what they computed: give the gpu"):
        Profiled(tables(QWEN / "tp1"), configured("qwen3-30b-a3b"), spread)


@profiles
def test_whole_experts_of_one_gpu_are_timed_on_two_that_share_them() -> None:
    split = Parallel(2, enable_expert_parallel=True)
    model = load_profiled(QWEN, configured("qwen3-30b-a3b"), split, gpu=CARD)
    assert model.tables.folder == QWEN / "tp2"
    batch = StepBatch(0, 0, 0, 0, 64, 64 * 2048)
    # Each has about a half of what 64 tokens touch, all but the busiest less.
    experts_s = [one._experts.time_s(64) for one in (model, qwen()) if one._experts is not None]
    assert 0.5 < experts_s[0] / experts_s[1] < 0.7
    assert 0.5 * qwen().step_s(batch) < model.step_s(batch) < 0.8 * qwen().step_s(batch)
    with pytest.raises(ConfigError, match="times whole experts, but 2 GPUs have a part of each"):
        Profiled(model.tables, configured("qwen3-30b-a3b"), Parallel(2), gpu=CARD)


def qwen_experts_s(tokens: int) -> float:
    experts = qwen().tables.experts
    assert experts is not None
    return experts.time_s(tokens, Routing(8, 128).distinct(tokens))


@pytest.mark.parametrize("line", ["0,8,5.0", "8,0,5.0", "8,8"])
def test_a_bad_row_of_experts_is_refused(tmp_path: Path, line: str) -> None:
    write_profile(tmp_path)
    (tmp_path / "moe.csv").write_text(f"tokens,activated_experts,time_us\n{line}\n")
    with pytest.raises(ConfigError, match=r"moe\.csv:2: "):
        load_profiled(tmp_path, configured("qwen3-30b-a3b"))
