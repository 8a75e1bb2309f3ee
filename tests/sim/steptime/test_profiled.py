from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from statistics import mean

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime import Profiled, StepBatch, grown
from continuum_sim.steptime.profiled import load_profiled
from support.profiles import CHUNKS, CONTEXTS, KV, REQUESTS, by_pairs, pairs, write_profile

RECORDED = Path(__file__).parents[4] / "shared/gpu-runs/rtx4090-llama-3.1-8b"
recorded = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded GPU run is not on this machine")

LLAMA = find_model("llama-3.1-8b")
CARD = find_gpu("rtx-4090")
LAYERS = 32


@pytest.fixture
def model(tmp_path: Path) -> Profiled:
    return load_profiled(write_profile(tmp_path), LLAMA)


def dense_s(tokens: int) -> float:
    return 1e-6 * (5 * tokens + LAYERS * (2 * (2 + tokens) + 100 + 3 * tokens))


def attention_s(model: Profiled, batch: StepBatch) -> float:
    """The step without its dense and per-request kernels, which these tables make straight lines, by layer and µs."""
    tokens, rows = batch.prefill_tokens + batch.decode_requests, batch.prefill_requests + batch.decode_requests
    return (model.step_s(batch) - dense_s(tokens) - 1e-6 * (1000 + rows)) / LAYERS * 1e6


def prompt(chunk: int, cached: int = 0, decodes: int = 0, context: int = 0) -> StepBatch:
    return StepBatch(1, chunk, cached, int(pairs(chunk, cached)), decodes, context)


def test_kernels_run_once_a_step_once_a_layer_or_twice_a_layer(model: Profiled) -> None:
    # One decoding request over 16 tokens: all at nodes of the tables.
    expected = 5 + LAYERS * (2 * 3 + 103) + 1001 + LAYERS * by_pairs(0, 0, 1, 16)
    assert model.step_s(StepBatch(0, 0, 0, 0, 1, 16)) == pytest.approx(expected * 1e-6, rel=1e-12)


def test_norms_follow_the_model(tmp_path: Path) -> None:
    gemma = find_model("gemma-3-12b")
    extra = load_profiled(write_profile(tmp_path), gemma).step_s(StepBatch(0, 0, 0, 0, 1, 16))
    expected = 5 + 48 * (4 * 3 + 103) + 1001 + 48 * by_pairs(0, 0, 1, 16)
    assert extra == pytest.approx(expected * 1e-6, rel=1e-12)


@pytest.mark.parametrize("chunk", [16, 40, 64, 200, 256])
@pytest.mark.parametrize("cached", [0, 10, 100, 999])
@pytest.mark.parametrize(("decodes", "kv"), [(0, 0), (1, 16), (3, 77), (16, 500)])
def test_work_between_the_nodes_is_met_exactly(model: Profiled, chunk: int, cached: int, decodes: int, kv: int) -> None:
    batch = prompt(chunk, cached, decodes, decodes * kv)
    assert attention_s(model, batch) == pytest.approx(by_pairs(chunk, cached, decodes, kv), rel=1e-9)


@pytest.mark.parametrize(("decodes", "kv"), [(1, 16), (2, 100), (10, 1024), (16, 300)])
def test_decoding_alone_has_its_own_kernel(model: Profiled, decodes: int, kv: int) -> None:
    assert attention_s(model, StepBatch(0, 0, 0, 0, decodes, decodes * kv)) == pytest.approx(
        by_pairs(0, 0, decodes, kv), rel=1e-9
    )


def test_several_prompts_are_not_one_long_one(model: Profiled) -> None:
    # Two of 100 and one of 40 on 20 cached tokens: the work of their pairs, not that of one chunk of 240. One launch of
    # the three counts; what a launch costs is taken from the smallest chunk, which works a little itself.
    work = sum(pairs(*part) for part in [(100, 0), (100, 0), (40, 20)])
    batch = StepBatch(3, 240, 20, int(work), 0, 0)
    expected = 0.002 * work + 3 * 7.0 - 2 * by_pairs(16, 0, 0, 0)
    assert attention_s(model, batch) == pytest.approx(expected, rel=1e-9)
    assert attention_s(model, prompt(240)) > 1.5 * attention_s(model, batch)


def test_a_chunk_below_the_grid_costs_what_the_smallest_does(model: Profiled) -> None:
    assert attention_s(model, prompt(3)) == pytest.approx(by_pairs(16, 0, 0, 0), rel=1e-9)
    beside = attention_s(model, prompt(3, 0, 4, 4 * 128))
    assert beside == pytest.approx(by_pairs(16, 0, 4, 128), rel=1e-9)


def test_beyond_the_grid_the_last_interval_goes_on(model: Profiled) -> None:
    assert attention_s(model, prompt(1000, 5000)) == pytest.approx(by_pairs(1000, 5000, 0, 0), rel=1e-9)
    assert attention_s(model, StepBatch(0, 0, 0, 0, 100, 100 * 9000)) == pytest.approx(
        by_pairs(0, 0, 100, 9000), rel=1e-9
    )
    # Dense kernels go on with the mean slope of the upper half of their counts.
    assert attention_s(model, prompt(2000)) == pytest.approx(by_pairs(2000, 0, 0, 0), rel=1e-9)


def test_decoding_beside_more_than_was_measured_adds_no_more_and_no_less(tmp_path: Path) -> None:
    def shrinking(chunk: int, cached: int, requests: int, kv: int) -> float:
        """Decoding hides behind the chunk the more the longer its context is, as in the noise of real tables."""
        added = requests * kv * 0.05 / (1 + cached / 512) if chunk else requests * kv * 0.02
        return 7.0 + 0.002 * pairs(chunk, cached) + added

    model = load_profiled(write_profile(tmp_path, shrinking), LLAMA)
    for cached in (1024, 3000, 50_000):
        added = attention_s(model, prompt(64, cached, 4, 4 * 128)) - attention_s(model, prompt(64, cached))
        assert added == pytest.approx(4 * 128 * 0.05 / 3, rel=1e-6)


def test_a_run_through_many_cells_is_the_sum_of_its_steps(model: Profiled) -> None:
    batch = prompt(50, 3, decodes=7, context=7 * 20)
    assert len(model.pieces(batch, 300)) > 4
    assert model.run_s(batch, 300) == pytest.approx(sum(model.step_s(grown(batch, j)) for j in range(300)), rel=1e-12)


def test_host_overhead_is_added_to_every_step(tmp_path: Path) -> None:
    plain = load_profiled(write_profile(tmp_path), LLAMA)
    late = load_profiled(tmp_path, LLAMA, host_overhead_s=0.25)
    batch = prompt(50, 3)
    assert late.run_s(batch, 4) == pytest.approx(plain.run_s(batch, 4) + 1, rel=1e-12)
    with pytest.raises(ConfigError, match="host_overhead_s is nan"):
        load_profiled(tmp_path, LLAMA, host_overhead_s=float("nan"))


def edit(path: Path, line: int, text: str | None) -> None:
    lines = path.read_text().splitlines()
    lines[line - 1 : line] = [] if text is None else [text]
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("file", "line", "text", "expected"),
    [
        ("dense.csv", 1, "layer,token,time_us", r"dense\.csv:1: expected the header layer,tokens,time_us"),
        ("dense.csv", 3, "mlp,100", r"dense\.csv:3: has 2 cells, expected 3"),
        ("dense.csv", 3, "mlp,ten,4", r"dense\.csv:3: tokens is 'ten', expected a whole number"),
        ("dense.csv", 3, "mlp,1.5,4", r"dense\.csv:3: tokens is '1\.5', expected a whole number"),
        ("dense.csv", 3, "mlp,0,4", r"dense\.csv:3: tokens is 0, expected at least 1"),
        ("dense.csv", 3, "mlp,100,-4", r"dense\.csv:3: time_us is '-4', expected microseconds above 0"),
        ("per_sequence.csv", 2, "lm_head,1,nan", r"per_sequence\.csv:2: time_us is 'nan', expected microseconds"),
        ("attention.csv", 2, "16,0,0,0,inf", r"attention\.csv:2: time_us is 'inf', expected microseconds"),
    ],
)
def test_a_bad_table_is_refused_with_file_line_and_expectation(
    tmp_path: Path, file: str, line: int, text: str | None, expected: str
) -> None:
    edit(write_profile(tmp_path) / file, line, text)
    with pytest.raises(ConfigError, match=expected) as caught:
        load_profiled(tmp_path, LLAMA)
    assert "\n" not in str(caught.value)


def test_missing_tables_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no folder .*nowhere; give one with dense\.csv"):
        load_profiled(tmp_path / "nowhere", LLAMA)
    with pytest.raises(ConfigError, match=r"dense\.csv cannot be read \(No such file or directory\)"):
        load_profiled(tmp_path, LLAMA)
    (write_profile(tmp_path) / "dense.csv").write_text("layer,tokens,time_us\n")
    with pytest.raises(ConfigError, match=r"dense\.csv: has no rows"):
        load_profiled(tmp_path, LLAMA)


def keep(folder: Path, wanted: Callable[[list[int]], bool]) -> None:
    """Keep the rows of the attention table with such keys."""
    path = folder / "attention.csv"
    head, *rows = path.read_text().splitlines()
    kept = [row for row in rows if wanted([int(cell) for cell in row.split(",")[:4]])]
    path.write_text("\n".join([head, *kept]) + "\n")


def test_gaps_of_a_table_are_what_the_rest_of_it_says(tmp_path: Path) -> None:
    write_profile(tmp_path)
    draw = random.Random(1)
    keep(tmp_path, lambda key: draw.random() < 0.5)
    model = load_profiled(tmp_path, LLAMA)
    for chunk, cached, decodes, kv in itertools.product(CHUNKS, CONTEXTS, REQUESTS, KV):
        batch = prompt(chunk, cached, decodes, decodes * kv)
        assert attention_s(model, batch) == pytest.approx(by_pairs(chunk, cached, decodes, kv), rel=1e-6)


def test_measured_times_stay_and_gaps_lie_between_their_neighbours(tmp_path: Path) -> None:
    def with_a_wave(chunk: int, cached: int, requests: int, kv: int) -> float:
        return by_pairs(chunk, cached, requests, kv) * (1.5 if chunk == 64 else 1.0)

    write_profile(tmp_path, with_a_wave)
    keep(tmp_path, lambda key: key[:3] != [64, 256, 4])
    model = load_profiled(tmp_path, LLAMA)
    for cached, decodes in ((64, 4), (1024, 4), (256, 1), (256, 16)):
        got = attention_s(model, prompt(64, cached, decodes, decodes * 128))
        assert got == pytest.approx(with_a_wave(64, cached, decodes, 128), rel=1e-9)
    # A chunk of 64 takes longer than others at all contexts that were measured, so it does at this one.
    got = attention_s(model, prompt(64, 256, 4, 4 * 128))
    assert got == pytest.approx(with_a_wave(64, 256, 4, 128), rel=0.05)


def test_tables_without_mixed_batches_are_refused(tmp_path: Path) -> None:
    keep(write_profile(tmp_path), lambda key: not (key[0] and key[2]))
    with pytest.raises(ConfigError, match="no row with prefill_chunk above 0 and n_decode above 0"):
        load_profiled(tmp_path, LLAMA)
    keep(write_profile(tmp_path), lambda key: key[2] > 0)
    with pytest.raises(ConfigError, match="no row with prefill_chunk above 0 and n_decode 0"):
        load_profiled(tmp_path, LLAMA)


def test_rows_that_are_no_grid_are_refused(tmp_path: Path) -> None:
    path = write_profile(tmp_path) / "attention.csv"
    scattered = [f"{16 + i},{i},{i},{i},5.0" for i in range(1, 60)]
    path.write_text(path.read_text() + "\n".join(scattered) + "\n")
    with pytest.raises(ConfigError, match=r"nodes of a grid of [\d,]+, expected at most 1,000,000"):
        load_profiled(tmp_path, LLAMA)


def test_a_split_is_taken_from_the_folders_of_splits_and_what_is_said_of_them_beside(tmp_path: Path) -> None:
    for size in (1, 2):
        (tmp_path / f"tp{size}").mkdir()
        write_profile(tmp_path / f"tp{size}", lambda *key, size=size: by_pairs(*key) / size)  # type: ignore[misc]
    # Shapes as of the last split: a half of what the model has.
    (tmp_path / "meta.yaml").write_text("gpu: Toy\ntp_degrees: [1, 2]\nhf_overrides:\n  intermediate_size: 7168\n")
    one, two = load_profiled(tmp_path, LLAMA), load_profiled(tmp_path, LLAMA, Parallel(2), gpu=CARD)
    assert two.describe()["provenance"] == {"folder": str(tmp_path / "tp2"), "gpu": "Toy"}
    assert one.step_s(prompt(256)) > two.tables.attention.prefill[2][0] * 2 * LAYERS
    assert load_profiled(tmp_path / "tp1", LLAMA).step_s(prompt(256)) == one.step_s(prompt(256))
    with pytest.raises(ConfigError, match="tp2: profiles a split over 2 GPUs, not over 1: give tp1"):
        load_profiled(tmp_path / "tp2", LLAMA)
    with pytest.raises(ConfigError, match="has profiles tp1, tp2, but none of a model on 4 GPUs"):
        load_profiled(tmp_path, LLAMA, Parallel(4), gpu=CARD)
    with pytest.raises(ConfigError, match="intermediate_size 7168, but Qwen3-8B has 12288"):
        load_profiled(tmp_path, find_model("qwen3-8b"))


def test_the_profile_of_another_model_or_parallel_size_is_refused(tmp_path: Path) -> None:
    write_profile(tmp_path, meta="gpu: Toy\ntp_degrees: [1, 2]\nhf_overrides:\n  intermediate_size: 14336\n")
    assert load_profiled(tmp_path, LLAMA, Parallel(2), gpu=CARD).describe()["provenance"]["gpu"] == "Toy"
    with pytest.raises(ConfigError, match="intermediate_size 14336, but Qwen3-8B has 12288"):
        load_profiled(tmp_path, find_model("qwen3-8b"))
    with pytest.raises(ConfigError, match="profiled with tensor parallel size 1, 2, not 4"):
        load_profiled(tmp_path, LLAMA, Parallel(4), gpu=CARD)


@recorded
def test_full_prefill_steps_of_the_recorded_run_take_what_they_took() -> None:
    """From 1.95 to 4.16 s of the run every step fills its budget of 2,048 tokens, so that eleven in a row are known.

    Their ends are the instants at which the engine schedules again; the batches follow from the prompts' lengths.
    """
    requests = [json.loads(line) for line in (RECORDED / "requests.jsonl").open()]
    start_s = requests[0]["scheduled_ts"]
    ends = sorted({round(request["first_token_ts"] - start_s, 3) for request in requests})
    steps_s = [b - a for a, b in itertools.pairwise(end for end in ends if 3.1 < end < 4.2)]
    assert mean(steps_s) == pytest.approx(0.2, rel=0.02)
    model = load_profiled(RECORDED, LLAMA)
    # Prompts of some 600 tokens, three or four a step, beside 25 to 37 decoding requests with 1,000 tokens each.
    for decodes, prompts in ((25, 4), (31, 4), (37, 3)):
        tokens = 2048 - decodes
        work = prompts * int(pairs(tokens / prompts, 0))
        step_s = model.step_s(StepBatch(prompts, tokens, 0, work, decodes, decodes * 1000))
        assert step_s == pytest.approx(mean(steps_s), rel=0.03)


@recorded
def test_decode_steps_of_the_recorded_run_take_what_they_took() -> None:
    """While nothing is admitted, running requests over tokens a second is a step; the pool's blocks are the context.

    The tables hold kernels only: what the host adds to a step (about 0.3 ms here, of 25) is not in them.
    """
    meta = json.loads((RECORDED / "meta.json").read_text())
    rows = [line.split(",") for line in (RECORDED / "timeseries.csv").read_text().splitlines()[1:]]
    model = load_profiled(RECORDED, LLAMA)
    ratios = []
    for (_, _, _, before, *_), (second, prompt_rate, rate, running, _, used) in itertools.pairwise(rows):
        if 6 <= float(second) <= 16 and float(prompt_rate) == 0:
            context = round(float(used) / 100 * meta["kv_cache"]["num_kv_tokens"])
            step_s = model.step_s(StepBatch(0, 0, 0, 0, int(running), context))
            ratios.append(step_s * float(rate) / ((int(before) + int(running)) / 2))
    assert len(ratios) == 11
    assert mean(ratios) == pytest.approx(1.0, abs=0.03)
