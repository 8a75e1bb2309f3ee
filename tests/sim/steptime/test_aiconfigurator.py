"""Step times from NVIDIA's package: close to its own answers, cached, and refused in one line if it has none."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import continuum_sim as cs
from continuum_sim.cli import main
from continuum_sim.hardware import find_gpu, find_model, kv_blocks
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime import Roofline, StepBatch, aiconfigurator, make_step_time
from continuum_sim.steptime.aiconfigurator import HOST_OVERHEAD_S, SYSTEMS, estimate_kv_blocks, load_aiconfigurator
from continuum_sim.steptime.aiconfigurator_models import hf_config
from continuum_sim.steptime.batch import grown, prefill_of
from continuum_sim.steptime.errors import known_error
from continuum_sim.steptime.gridded import TOKENS, Gridded
from support.configurations import FOLDER, configured

LLAMA, H100 = find_model("llama-3.1-8b"), find_gpu("h100")
needs_package = pytest.mark.skipif(
    aiconfigurator.installed() is None, reason="aiconfigurator-core is not installed (pip install '.[aiconfigurator]')"
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))


@pytest.fixture(scope="module")
def ask() -> Callable[[StepBatch], float]:
    """Seconds of a step as the package itself answers, for the model as it knows it by name."""
    from aiconfigurator_core.sdk import RustForwardPassPerfModel

    engine = {"model_name": "meta-llama/Meta-Llama-3.1-8B", "system_name": "h100_sxm", "backend": "vllm"}
    source = RustForwardPassPerfModel.from_native({"schema_version": 1, "tp_size": 1, "pp_size": 1, **engine}, None)

    def seconds(batch: StepBatch) -> float:
        scheduled = {
            "num_prefill_requests": batch.prefill_requests,
            "sum_prefill_tokens": batch.prefill_tokens,
            "sum_prefill_kv_tokens": batch.prefill_context_tokens,
            "num_decode_requests": batch.decode_requests,
            "sum_decode_kv_tokens": batch.decode_context_tokens,
        }
        answer: float = source.estimate_forward_pass_time_ms({"version": 1, "scheduled_requests": scheduled})
        return answer / 1e3

    return seconds


def random_batches(kind: str, count: int) -> list[StepBatch]:
    """Sizes spread evenly over their orders of magnitude, as a simulation meets them."""
    rng = np.random.default_rng(7)

    def size(most: float) -> int:
        return int(np.exp(rng.uniform(0, np.log(most))))

    made = []
    for _ in range(count):
        n, each, tokens, context = size(512), 64 * size(1500), size(8192), size(100_000)
        prompts = {"decode": 0, "prefill": 1, "mixed": 1, "several prompts": int(rng.integers(2, 12))}[kind]
        if kind == "prefill":
            n = 0
        elif kind == "decode":
            tokens = context = 0
        tokens = max(tokens, prompts) if prompts else 0
        made.append(StepBatch(prompts, tokens, prompts * context, 0, n, n * each))
    return made


@needs_package
@pytest.mark.parametrize(
    ("kind", "mean", "p95"),
    [("decode", 0.005, 0.02), ("prefill", 0.01, 0.04), ("mixed", 0.008, 0.03), ("several prompts", 0.015, 0.06)],
)
def test_stays_near_the_package(kind: str, mean: float, p95: float, ask: Callable[[StepBatch], float]) -> None:
    """The errors that docs/step-time.md states, with some room for another release's tables."""
    model = load_aiconfigurator(LLAMA, H100, host_overhead_s=0.0)
    errors = [model.step_s(batch) / ask(batch) - 1 for batch in random_batches(kind, 400)]
    assert abs(np.mean(errors)) < 0.01
    assert np.mean(np.abs(errors)) < mean
    assert np.quantile(np.abs(errors), 0.95) < p95


@needs_package
def test_the_host_overhead_is_added_to_every_step_and_stated() -> None:
    bare = load_aiconfigurator(LLAMA, H100, host_overhead_s=0.0)
    made = make_step_time("aiconfigurator", model=LLAMA, gpu=H100)
    given = make_step_time("aiconfigurator:host_overhead_s=0.002", model=LLAMA, gpu=H100)
    for batch in random_batches("mixed", 5):
        assert made.step_s(batch) == pytest.approx(bare.step_s(batch) + HOST_OVERHEAD_S)
        assert given.step_s(batch) == pytest.approx(bare.step_s(batch) + 0.002)
    said = given.describe()
    assert said["host_overhead_s"] == 0.002
    assert said["provenance"]["package"] == f"aiconfigurator-core {aiconfigurator.installed()}"


@needs_package
def test_tables_are_taken_once_and_kept(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = load_aiconfigurator(LLAMA, H100)
    kept = [path.name for path in (cache / "continuum-sim" / "aiconfigurator").iterdir()]
    assert len([name for name in kept if name.startswith("h100_sxm-tp1-")]) == 1
    assert not [name for name in kept if name.endswith(".tmp")]

    def fail(*_: Any) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(aiconfigurator, "_ask_for_tables", fail)
    again = load_aiconfigurator(LLAMA, H100)
    for name in ("prefill_s", "decode_s", "overlap_s"):
        assert np.array_equal(getattr(first.tables, name), getattr(again.tables, name))
    with pytest.raises(AssertionError, match="asked again"):
        load_aiconfigurator(find_model("llama-3.2-1b"), H100)
    monkeypatch.setattr(aiconfigurator, "version", lambda _: "9.9")
    with pytest.raises(AssertionError, match="asked again"):
        load_aiconfigurator(LLAMA, H100)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_broken_cache_is_replaced_and_one_that_cannot_be_written_done_without(
    content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(aiconfigurator, "version", lambda _: "0")
    tables = Gridded(aiconfigurator.sample(lambda *_: 1e-3), 0.0, {}).tables
    monkeypatch.setattr(aiconfigurator, "_ask_for_tables", lambda *_: tables)
    load_aiconfigurator(LLAMA, H100)
    (path,) = aiconfigurator.cache_folder().iterdir()
    whole = path.read_bytes()
    path.write_bytes(content)
    load_aiconfigurator(LLAMA, H100)
    assert path.read_bytes() == whole
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert load_aiconfigurator(LLAMA, H100).step_s(StepBatch(0, 0, 0, 0, 1, 100)) > 0


@needs_package
def test_a_run_is_the_same_in_both_modes() -> None:
    made = load_aiconfigurator(LLAMA, H100)
    few: dict[str, Any] = {"limit": 12, "max_turns": 8, "arrivals": "poisson:rate=4", "kv_blocks": 1200}
    fast = cs.run(gpu="h100", step_time=made, **few)
    slow = cs.run(gpu="h100", step_time=made, engine="stepwise", **few)
    assert fast.programs["jct_s"].tolist() == pytest.approx(slow.programs["jct_s"].tolist(), rel=1e-9)
    assert fast.summary.steps == slow.summary.steps


@needs_package
@pytest.mark.parametrize("gpu", SYSTEMS)
def test_blocks_are_near_ours(gpu: str) -> None:
    card = find_gpu(gpu)
    theirs = estimate_kv_blocks(LLAMA, card)
    assert theirs == pytest.approx(kv_blocks(LLAMA, card), rel=0.25)
    assert estimate_kv_blocks(LLAMA, card, gpu_memory_utilization=0.8) < theirs


@needs_package
def test_an_unknown_gpu_or_model_is_one_line() -> None:
    with pytest.raises(cs.ConfigError, match=r"no vLLM kernels of H100-PCIe; it has those of A100"):
        load_aiconfigurator(LLAMA, find_gpu("h100-pcie"))
    with pytest.raises(cs.ConfigError, match=r"Gemma-3-12B .*sliding windows.*; it knows dense models without windows"):
        load_aiconfigurator(find_model("gemma-3-12b"), H100)
    with pytest.raises(cs.ConfigError, match="'overhead' of step-time model aiconfigurator, did you mean"):
        make_step_time("aiconfigurator:overhead=1", model=LLAMA, gpu=H100)
    with pytest.raises(cs.ConfigError, match="host_overhead_s is -1"):
        make_step_time("aiconfigurator:host_overhead_s=-1", model=LLAMA, gpu=H100)
    with pytest.raises(cs.ConfigError, match="aiconfigurator refuses Llama-3.1-8B on 64 x H100"):
        load_aiconfigurator(LLAMA, H100, Parallel(64))


def test_a_missing_package_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr(aiconfigurator, "version", missing)
    with pytest.raises(SystemExit) as exited:
        main(["run", "--step-time", "aiconfigurator", "--limit", "1"])
    assert exited.value.code == 2
    assert "pip install 'continuum-sim[aiconfigurator]'" in (said := capsys.readouterr().err)
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("name", "architecture"),
    [
        ("qwen3-30b-a3b", "Qwen3Moe"),
        ("qwen3-235b-a22b-fp8", "Qwen3Moe"),
        ("mixtral-8x7b", "Mixtral"),
        ("deepseek-r1", "DeepseekV3"),
        ("glm-5", "DeepseekV32"),
        ("gpt-oss-120b", "GptOss"),
        ("qwen3-next-80b-a3b", None),
        ("llama-4-scout", None),
        ("mixtral-8x7b-awq", None),
        ("ernie-4.5-300b-a47b", None),
        ("deepseek-v4-flash", None),
    ],
)
def test_a_mixture_is_passed_as_an_architecture_with_its_layers(name: str, architecture: str | None) -> None:
    model = configured(name)
    config = hf_config(model)
    if architecture is None:
        assert config is None
        if aiconfigurator.installed() is not None:
            with pytest.raises(cs.ConfigError, match=rf"no tables for the layers of {name}.*it knows dense models"):
                load_aiconfigurator(model, H100)
        return
    assert config is not None
    assert config["architectures"] == [f"{architecture}ForCausalLM"]
    published = json.loads((FOLDER / name / "config.json").read_text())
    same = ("hidden_size", "num_experts_per_tok", "vocab_size", "num_hidden_layers", "num_attention_heads")
    assert {key: config[key] for key in same} == {key: published[key] for key in same}
    for key in ("kv_lora_rank", "q_lora_rank", "first_k_dense_replace", "n_shared_experts", "index_topk", "v_head_dim"):
        if key in config:
            assert config[key] == published[key]
    assert ("quantization_config" in config) == ("quantization_config" in published)


@needs_package
def test_a_mixture_is_timed_by_its_own_kernels() -> None:
    model, h200 = configured("mixtral-8x7b"), find_gpu("h200")
    step_time = load_aiconfigurator(model, h200)
    batch = StepBatch(0, 0, 0, 0, 64, 64 * 4096)
    assert step_time.step_s(batch) == pytest.approx(Roofline(model, h200).step_s(batch), rel=0.25)


@needs_package
def test_other_links_replace_the_packages_all_reduces() -> None:
    """Llama-3.1-8B on two H100: 65 all-reduces of a step's tokens."""
    batch = StepBatch(0, 0, 0, 0, 64, 64 * 2000)
    own = load_aiconfigurator(LLAMA, H100, Parallel(2))
    nothing = load_aiconfigurator(LLAMA, H100, Parallel(2, link="latency_us=0,bandwidth_gbps=1e9"))
    slow = load_aiconfigurator(LLAMA, H100, Parallel(2, link="latency_us=10,bandwidth_gbps=10"))
    added_s = 65 * (10e-6 + 64 * 4096 * 2 / 10e9)
    assert slow.step_s(batch) - nothing.step_s(batch) == pytest.approx(added_s, rel=1e-6)
    table = nothing.tables.all_reduce_s
    assert own.step_s(batch) - nothing.step_s(batch) == pytest.approx(table[TOKENS.index(64)], rel=1e-3)
    # As measured by the package with vLLM's kernel on the same link.
    as_here = load_aiconfigurator(LLAMA, H100, Parallel(2, link="nvlink4"))
    assert as_here.step_s(batch) == pytest.approx(own.step_s(batch), rel=0.02)
    assert as_here.describe()["communication"]["link"] == "nvlink4"
    for refused in (
        Parallel(2, data_parallel_size=2, link="nvlink4"),
        Parallel(2, node_link="ib-ndr"),
    ):
        with pytest.raises(cs.ConfigError, match=r"aiconfigurator's times hold its own exchange of tokens"):
            load_aiconfigurator(LLAMA, H100, refused)
    with pytest.raises(cs.ConfigError, match="deepep_low_latency: aiconfigurator has its own; leave it out"):
        load_aiconfigurator(LLAMA, H100, Parallel(all2all_backend="deepep_low_latency"))


@needs_package
@pytest.mark.slow
@pytest.mark.parametrize(
    "split",
    [
        {"tensor_parallel_size": 4, "enable_expert_parallel": True},
        {"data_parallel_size": 4, "enable_expert_parallel": True},
        {"data_parallel_size": 4},
        {"tensor_parallel_size": 2, "data_parallel_size": 2, "enable_expert_parallel": True},
    ],
)
def test_mixtures_on_ranks_take_about_as_long_as_by_the_roofline(split: dict[str, Any]) -> None:
    """Independent of it: the package has its own all-gathers, and experts of uneven popularity."""
    model, parallel = configured("qwen3-30b-a3b"), Parallel(**split)
    package, roofline = load_aiconfigurator(model, H100, parallel), Roofline(model, H100, parallel)
    batch = StepBatch(0, 0, 0, 0, 64, 64 * 2000)
    print(split, roofline.step_s(batch) / package.step_s(batch))
    assert roofline.step_s(batch) / package.step_s(batch) == pytest.approx(0.9, abs=0.1)


@needs_package
@pytest.mark.slow
def test_the_known_error_of_the_roofline() -> None:
    """As `errors.toml` says: what multiplies all steps of a model on a GPU, beside the kernels of this package."""
    decode = [StepBatch(0, 0, 0, 0, n, n * c) for n in (4, 16, 64, 128) for c in (2000, 10_000, 30_000)]
    prompts = [prefill_of(tokens, c) for tokens in (512, 1024, 2048, 4096) for c in (0, 8000, 32_000)]
    means = []
    for name in ("llama-3.1-8b", "qwen3-32b"):
        for gpu in map(find_gpu, ("a100-80", "h100", "h200", "b200", "b300", "l40s", "rtx-pro-6000")):
            kernels = load_aiconfigurator(find_model(name), gpu, host_overhead_s=0.0)
            ours = Roofline(find_model(name), gpu)
            means += [
                np.mean([np.log(ours.step_s(batch) / kernels.step_s(batch)) for batch in steps])
                for steps in (decode, prompts)
            ]
            assert known_error("roofline", gpu) == known_error("roofline", H100)
    assert float(np.sqrt(np.mean(np.square(means)))) == pytest.approx(known_error("roofline", H100), abs=0.005)


@needs_package
def test_decoding_beside_a_prompt_goes_through_its_kernel() -> None:
    """200 tokens beside 127 requests over 1,100 each took 41.5 ms on an RTX PRO 6000; both kernels' sum is 33."""
    step_s = load_aiconfigurator(find_model("llama-3.1-8b"), find_gpu("rtx-pro-6000"), host_overhead_s=0.0).step_s
    assert step_s(StepBatch(1, 200, 0, 200 * 201 // 2, 127, 127 * 1100)) == pytest.approx(41.5e-3, rel=0.05)


@needs_package
def test_a_run_beside_decodes_is_the_sum_of_its_steps() -> None:
    model = load_aiconfigurator(find_model("llama-3.1-8b"), find_gpu("l40s"))
    batch = StepBatch(1, 256, 512, 256 * 512 + 256 * 257 // 2, 32, 32 * 700)
    assert model.run_s(batch, 6) == pytest.approx(sum(model.step_s(grown(batch, j)) for j in range(6)), rel=1e-9)
