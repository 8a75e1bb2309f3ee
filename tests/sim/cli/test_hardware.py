"""`continuum-sim hardware` and the library call behind it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from continuum_sim import ConfigError
from continuum_sim.hardware import find_gpu, find_model, gpus, kv_blocks, models
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.stages import stages
from continuum_sim.steptime import Fitted, Roofline, StepBatch, save_fitted
from continuum_sim.steptime.aiconfigurator import installed
from continuum_sim.steptime.machines import machines
from continuum_sim.steptime.piped import hand_over_s
from support.cli import cli

ROOFLINE = ("--step-time", "roofline")
EACH = ("--context", "1000", *ROOFLINE, "--json")


def test_lists_every_gpu_and_model(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = cli(capsys, "hardware", *ROOFLINE)
    assert (code, err) == (0, "")
    for item in (*gpus(), *models()):
        assert f"\n{item.name} " in out
    for card in gpus():
        assert f" x {card.name} " in out


def test_numbers_are_those_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = cli(capsys, "hardware", "--model", "llama-3.1-8b", "--gpu", "h100", *EACH)
    (machine,) = json.loads(out)["machines"]
    llama, h100 = find_model("llama-3.1-8b"), find_gpu("h100")
    assert machine["kv_blocks"] == kv_blocks(llama, h100)
    assert machine["kv_tokens"] == 16 * machine["kv_blocks"]
    (times,) = machine["step_times"]
    roofline = Roofline(llama, h100)
    assert times["decode_32_s"] == roofline.step_s(StepBatch(0, 0, 0, 0, 32, 32_000))
    assert times["prefill_2k_s"] == roofline.step_s(StepBatch(1, 2048, 0, 2048 * 2049 // 2, 0, 0))


def test_step_time_models_stand_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_fitted(Fitted(0.5, 0.0, 0.0, 0.0), tmp_path / "half.json")
    both = (*ROOFLINE, "--step-time", f"fitted:{tmp_path / 'half.json'}")
    _, out, _ = cli(capsys, "hardware", "--model", "qwen3-8b", "--gpu", "h100,l40s", *both)
    assert out.count("roofline") == out.count("fitted:") == 2
    assert out.count("500.0") == 8


def test_a_model_takes_as_many_gpus_as_it_needs() -> None:
    large, small = find_model("llama-3.1-70b"), find_model("llama-3.2-1b")
    found = machines([large, small], [find_gpu("h100")], step_times=["roofline"])
    assert [machine.tensor_parallel_size for machine in found] == [4, 1]
    assert found[0].kv_blocks == kv_blocks(large, find_gpu("h100"), parallel=Parallel(4))


@pytest.mark.skipif(installed() is None, reason="aiconfigurator-core is not installed")
def test_aiconfigurator_stands_beside_the_roofline_where_it_knows_the_pair(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    known, unknown = machines([find_model("llama-3.1-8b")], [find_gpu("a100-80"), find_gpu("l4")])
    assert [times.step_time for times in known.step_times] == ["roofline", "aiconfigurator"]
    assert known.kv_blocks_aiconfigurator is not None
    assert known.step_times[1].decode_32_s == pytest.approx(known.step_times[0].decode_32_s, rel=0.2)
    assert [times.step_time for times in unknown.step_times] == ["roofline"]
    assert unknown.kv_blocks_aiconfigurator is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gpu", "h1000"), "unknown GPU 'h1000', did you mean 'H100'?"),
        (("--model", "llama-3.1-9b"), "unknown model 'llama-3.1-9b', did you mean 'Llama-3.1-8B'?"),
        (("--tensor-parallel-size", "0"), "tensor_parallel_size is 0"),
        (("--context", "0"), "context_tokens is 0"),
        (("--step-time", "rofline"), "did you mean 'roofline'?"),
        (("--model", "llama-3.1-70b", "--gpu", "l4", "--tensor-parallel-size", "1"), "does not fit 1 x L4"),
        (("llama-3.1-70b", "--gpu", "l4", "--tp", "1"), "Llama-3.1-70B does not fit L4 (1 lacks "),
        (("llama-3.1-8b", "--model", "qwen3-8b"), "MODEL is shown by itself"),
        (("llama-3.1-8b", "--price", "cheap"), "price is 'cheap'"),
        (("--split", "tp=2"), "--split is of one MODEL"),
        (("--link", "pcie4"), "are of one MODEL: name it"),
        (("llama-3.1-8b", "--split", "tp=2", "--tp", "2"), "--split is of one MODEL, and says all"),
        (("llama-3.1-8b", "--split", "tp=3"), "attention heads (32) must be divisible by tensor parallel size (3)"),
        (("llama-3.1-70b", "--gpu", "l4", "--split", "dp=2"), "does not fit L4 (2 lack "),
        (("llama-3.1-8b", "--step-time", "fitted:x.json"), "of one kind of GPU: name it with --gpu"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = cli(capsys, "hardware", *arguments)
    assert code == 2
    assert said in err
    assert err.count("\n") == 1


def test_a_model_on_each_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = cli(capsys, "hardware", "llama-3.1-70b")
    assert (code, err) == (0, "")
    assert max(map(len, out.splitlines()[:-2])) <= 120
    named = [line.split("  ")[0] for line in out.splitlines() if " x " in line]
    told = re.findall(r"([\w-]+) \(\d lacks? ", out)
    assert {one.split(" x ")[1] for one in named} | set(told) == {card.name for card in gpus()}
    row = next(line for line in out.splitlines() if line.startswith("4 x H100 "))
    assert re.search(r"13\.96 .* decode \d+ .* attention read \d+ %, linear read \d+ %", row)


def test_json_of_a_model_on_a_gpu_has_all(capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = cli(capsys, "hardware", "llama-3.1-8b", "--gpu", "h100", "--price", "2", "--json")
    (one,) = json.loads(out)["served"]
    llama, h100 = find_model("llama-3.1-8b"), find_gpu("h100")
    assert (one["kv_blocks"], one["kv_tokens"]) == (kv_blocks(llama, h100), 16 * kv_blocks(llama, h100))
    running = one["decode"]["tokens"]
    assert running == one["requests"] == (one["kv_blocks"] - 1) // 256
    seconds = Roofline(llama, h100).step_s(StepBatch(0, 0, 0, 0, running, running * 4096))
    assert one["decode"]["step_s"] == seconds
    assert one["decode"]["usd_per_million_tokens"] == pytest.approx(2 / 3600 * seconds / running * 1e6)
    assert sum(share["step_share"] for share in one["decode"]["shares"]) == pytest.approx(1)
    assert one["prefill"]["tokens"] == 8192
    assert one["prefill"]["shares"][0]["name"] == "linear"
    assert one["prefill"]["shares"][0]["limit"] == "computing"


def test_a_model_is_shown_cheapest_decoding_first(capsys: pytest.CaptureFixture[str]) -> None:
    order = []
    for price in ("h100=1,b200=100", "h100=100,b200=1"):
        _, out, _ = cli(capsys, "hardware", "qwen3-8b", "--gpu", "h100,b200", "--price", price, "--json")
        order.append([one["gpu"] for one in json.loads(out)["served"]])
    assert order == [["H100", "B200"], ["B200", "H100"]]


def test_a_folder_with_states_and_experts(capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(__file__).parents[2] / "oracles/configs/qwen3-next-80b-a3b"
    _, out, _ = cli(capsys, "hardware", folder, "--gpu", "h200,l4")
    assert "2 x H200" in out
    assert "experts read" in out
    assert "does not fit L4 (8 lack " in out
    _, out, _ = cli(capsys, "hardware", folder, "--gpu", "h200", "--kv-cache-dtype", "fp8", "--json")
    assert json.loads(out)["served"][0]["block_size"] == 1072


def test_nothing_fits() -> None:
    with pytest.raises(ConfigError, match="has .* tokens of KV cache, below the 100,000,000 asked for"):
        machines([find_model("llama-3.2-1b")], [find_gpu("h100")], max_model_len=100_000_000, step_times=["roofline"])


def test_splits_show_what_communication_costs(capsys: pytest.CaptureFixture[str]) -> None:
    splits = ("--split", "tp=4", "--split", "tp=2,pp=2", "--split", "tp=4,dp=2")
    code, out, err = cli(capsys, "hardware", "llama-3.1-70b", "--gpu", "h100", *splits)
    assert (code, err) == (0, "")
    assert max(len(line) for line in out.splitlines() if " x " in line) <= 120
    assert "8 x H100 tp=4,dp=2" in out
    _, out, _ = cli(capsys, "hardware", "llama-3.1-70b", "--gpu", "h100", *splits, "--price", "1", "--json")
    four, piped, ranks = (
        next(one for one in json.loads(out)["served"] if one["split"] == split)
        for split in ("tp=4", "tp=2,pp=2", "tp=4,dp=2")
    )
    assert [one["usd_per_hour"] for one in (four, piped, ranks)] == [4, 4, 8]
    # Dense ranks are engines beside one another.
    assert ranks["kv_tokens_of_all"] == 2 * four["kv_tokens"] == 2 * ranks["kv_tokens"]
    assert ranks["decode"] == four["decode"]
    llama, h100, parallel = find_model("llama-3.1-70b"), find_gpu("h100"), Parallel(2, 2)
    batch = StepBatch(0, 0, 0, 0, piped["decode"]["tokens"], 4096 * piped["decode"]["tokens"])
    each = [Roofline(stage, h100, parallel).step_s(batch) for stage in stages(llama, parallel)]
    handed_s = hand_over_s(llama, h100, parallel)(batch)
    assert piped["decode"]["step_s"] == pytest.approx(sum(each) + handed_s)
    dollars = 4 / 3600 * max(each) / batch.decode_requests * 1e6
    assert piped["decode"]["usd_per_million_tokens"] == pytest.approx(dollars)
    shares = {share["name"]: share["step_share"] for share in four["prefill"]["shares"]}
    assert four["prefill"]["communication_s"] == pytest.approx(shares["all_reduce"] * four["prefill"]["step_s"])


def test_overlapped_batches_hide_a_part_of_the_exchange(capsys: pytest.CaptureFixture[str]) -> None:
    wide = ("deepseek-r1", "--gpu", "h200", "--split", "dp=16,ep,nodes=2", "--all2all-backend", "deepep_low_latency")
    one, two = (
        json.loads(cli(capsys, "hardware", *wide, *more, "--json")[1])["served"][0]["prefill"]
        for more in ((), ("--enable-dbo",))
    )
    (exchange,) = (share for share in one["shares"] if share["name"] == "exchange")
    assert one["communication_s"] == pytest.approx(exchange["step_share"] * one["step_s"])
    assert one["step_s"] - two["step_s"] == pytest.approx(one["communication_s"] - two["communication_s"])
    assert 0 < two["communication_s"] < one["communication_s"] / 4


def test_a_slower_link_costs_more(capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for link in ((), ("--link", "latency_us=20,bandwidth_gbps=20")):
        _, out, _ = cli(capsys, "hardware", "llama-3.1-70b", "--gpu", "h100", "--split", "tp=4", *link, "--json")
        said.append(json.loads(out)["served"][0]["decode"]["communication_s"])
    assert said[1] > 3 * said[0]
