"""Configurations that were once read wrongly; tests/oracles holds the same values for the project's own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from continuum_sim.hardware import find_gpu, find_model, kv_blocks
from support.cli import printed

CASES = Path(__file__).parents[4] / "shared/cases/models"
RUN = ("run", "--policy", "lru", "--limit", 3, "--max-turns", 3)


def case(name: str) -> Path:
    if not CASES.is_dir():
        pytest.skip("../shared is not there")
    return CASES / name


def test_gemma_3_has_its_groups_and_starts(capsys: pytest.CaptureFixture[str]) -> None:
    """Its sliding layers, kept whole, made the KV memory look five times too small, and vLLM not start."""
    run = [*RUN, "--gpu", "a100-80", "--model", "gemma-3-12b"]
    for command in (run, ["hardware", "--gpu", "h100", "--model", "gemma-3-12b"]):
        said = printed(capsys, *command)
        assert "attend to a window" not in said
        assert "would not start" not in said
    blocks, whole = (
        int(re.findall(r"([0-9,]+) KV blocks", printed(capsys, *run, *flags))[0].replace(",", ""))
        for flags in ([], ["--disable-hybrid-kv-cache-manager"])
    )
    assert blocks // 6 == whole, "a block of one of six groups holds a sixth of the layers"


def test_tiers_keep_windows_whole_and_say_so(capsys: pytest.CaptureFixture[str]) -> None:
    # Each request may hold the tokens of all steps under way beside its windows.
    for mode, tokens in ([], "666,504"), (["--no-async-scheduling"], "713,087"):
        said = printed(capsys, *RUN, "--gpu", "a100-80", "--model", "gemma-3-12b", "--dram-gb", "100", *mode)
        assert "as with vLLM's --disable-hybrid-kv-cache-manager" in said
        assert "40 of 48 layers of Gemma-3-12B attend to a window of 1,024 tokens" in said
        assert f"here vLLM makes {tokens}" in said


def test_experts_as_a_list(capsys: pytest.CaptureFixture[str]) -> None:
    folder = case("04-experts-as-a-list")
    assert find_model(folder).weight_bytes == pytest.approx(57e9, rel=0.01)
    assert "tokens/s" in printed(capsys, *RUN, "--gpu", "h100", "--model", folder)


def test_compression_config(capsys: pytest.CaptureFixture[str]) -> None:
    folder = case("05-compression-config")
    assert find_model(folder).weight_bytes == pytest.approx(5.70e9, rel=0.001)
    said = printed(capsys, *RUN, "--gpu", "rtx-4090", "--model", folder, "--trace", folder / "trace.jsonl")
    assert "are stored as compressed-tensors: step times count the bytes read" in said


@pytest.mark.parametrize("model", ["moe", "fp8"])
def test_the_remedy(capsys: pytest.CaptureFixture[str], model: str) -> None:
    folder = case("06-remedy-that-does-not-work")
    measured = ("--step-time", f"fitted:{folder / 'fit.json'}", "--kv-blocks", 40000)
    asked = ("--model", folder / model, "--gpu", "h100", "--trace", folder / "trace.jsonl")
    assert f"{model} on H100: 40,000 KV blocks" in printed(capsys, *RUN, *asked, *measured)


@pytest.mark.parametrize(("name", "length"), [("linear", 16384), ("dynamic", 4096), ("yarn", 32768)])
def test_lengths_with_rope_scaling(capsys: pytest.CaptureFixture[str], name: str, length: int) -> None:
    folder = case("08-rope-factor-and-max-model-len")
    assert find_model(folder / name).max_model_len == length
    asked = ("--model", folder / name, "--gpu", "h100", "--max-model-len", length, "--kv-blocks", 4000)
    assert "VLLM_ALLOW_LONG_MAX_MODEL_LEN" not in printed(capsys, *RUN, *asked, "--truncate-unfit")


@pytest.mark.parametrize(
    ("name", "params", "sliding"), [("command-r", 34_980_831_232, 0), ("command-r7b", 8_028_033_024, 24)]
)
def test_cohere(name: str, params: int, sliding: int) -> None:
    model = find_model(case("09-cohere-tied-and-interleaved") / name)
    assert (model.n_params, model.n_sliding_layers, model.n_full_layers) == (params, sliding, model.n_layers - sliding)
    assert model.tied_embeddings


def test_an_fp8_cache_in_one_setting(capsys: pytest.CaptureFixture[str]) -> None:
    """As vllm-project/vllm#42058 saw it: twice the tokens, and twice the blocks in host memory."""
    asked = ("--model", "qwen3-8b", "--gpu", "a100-80", "--dram-gb", 100)
    said = printed(capsys, *RUN, *asked, "--kv-cache-dtype", "fp8")
    assert "84,771 DRAM blocks" in said or "84,771" in said
    model, gpu = find_model("qwen3-8b"), find_gpu("a100-80")
    assert kv_blocks(model, gpu, kv_dtype="fp8") in (2 * kv_blocks(model, gpu), 2 * kv_blocks(model, gpu) + 1)
