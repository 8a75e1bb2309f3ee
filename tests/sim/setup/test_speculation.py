"""`--speculative-config`: what it says, and what it costs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from continuum_sim import run
from continuum_sim.engine.speculation.config import SpeculationConfig
from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model, kv_blocks
from continuum_sim.hardware.drafters import layer_of
from continuum_sim.hardware.parallel import ONE_GPU
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.setup.speculation import parse_speculation, vllms_speculation
from continuum_sim.steptime import StepBatch, make_step_time
from support.configurations import configured
from support.programs import program, turn

EAGLE = "eagle3:num_speculative_tokens=3,synthetic_acceptance_rates=0.8/0.6/0.4"


def test_short_form_and_vllms_json_say_the_same() -> None:
    told = {
        "method": "eagle3",
        "model": "yuhuili/EAGLE3-LLaMA3.1-Instruct-8B",
        "num_speculative_tokens": 3,
        "rejection_sample_method": "synthetic",
        "synthetic_acceptance_rates": [0.8, 0.6, 0.4],
    }
    short, long = parse_speculation(EAGLE), parse_speculation(json.dumps(told))
    assert short is not None
    assert long is not None
    assert short.config == long.config == SpeculationConfig("eagle3", 3, (0.8, 0.6, 0.4))
    assert parse_speculation(None) is None
    by_length = parse_speculation("ngram:num_speculative_tokens=2,synthetic_acceptance_length=1.5")
    assert by_length is not None
    assert by_length.config.acceptance_rates == (0.5, 0.0)


def test_a_real_engine_is_told_in_vllms_words() -> None:
    told, rates = vllms_speculation("ngram:num_speculative_tokens=3,prompt_lookup_max=4")
    assert (told, rates) == ({"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_max": 4}, None)
    told, rates = vllms_speculation(EAGLE + ",draft_s=0.001,draft_tensor_parallel_size=1")
    assert rates is None  # vLLM keeps to those
    assert told == {
        "method": "eagle3",
        "num_speculative_tokens": 3,
        "synthetic_acceptance_rates": [0.8, 0.6, 0.4],
        "rejection_sample_method": "synthetic",
        "draft_tensor_parallel_size": 1,
    }
    with pytest.raises(ConfigError, match="'eagel', expected one of"):
        vllms_speculation("eagel:num_speculative_tokens=1")
    with pytest.raises(ConfigError, match="expected num_speculative_tokens"):
        vllms_speculation("ngram")


def test_acceptance_that_calibrate_measured_is_read_from_its_file(tmp_path: Path) -> None:
    path = tmp_path / "fitted.json"
    path.write_text(json.dumps({"kind": "calibrated", "provenance": {"acceptance": {"rates": [0.5, 0.25]}}}))
    found = parse_speculation(f"ngram:metrics={path}")
    assert found is not None
    assert found.config == SpeculationConfig("ngram", 2, (0.5, 0.25))
    told, rates = vllms_speculation(f"ngram:metrics={path}")
    assert (told, rates) == ({"method": "ngram", "num_speculative_tokens": 2}, (0.5, 0.25))
    path.write_text(json.dumps({"kind": "calibrated", "provenance": {}}))
    with pytest.raises(ConfigError, match=r"fitted.json holds no acceptance of drafts: calibrate an engine with"):
        parse_speculation(f"ngram:metrics={path}")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("eagle3", "expected num_speculative_tokens"),
        ("eagle3:num_speculative_tokens=3", "no acceptance"),
        (EAGLE + ",synthetic_acceptance_length=2", "has synthetic_acceptance_rates and synthetic_acceptance_length"),
        ("eagle3:num_speculative_tokens=three,synthetic_acceptance_length=2", "expected a number"),
        ("eagle3:num_speculative_tokens=1,synthetic_acceptance_rates=high", "expected shares"),
        ("eagle3:tokens=3", "unknown key 'tokens'"),
        ("eagel:num_speculative_tokens=1,synthetic_acceptance_length=2", "'eagel', expected one of"),
        ('{"method": "eagle3",', "no JSON"),
        (" ", "or vLLM's JSON"),
        (EAGLE + ",disable_eagle_block_drop=maybe", "expected true or false"),
        (EAGLE + ",draft_s=-1", "expected seconds of 0 or more"),
    ],
)
def test_what_is_wrong_is_named(text: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        RunConfig(speculative_config=text)


METRICS = """\
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="m"} 150.0
vllm:spec_decode_num_drafts_total{engine="1",model_name="m"} 50.0
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 400.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="0"} 120.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="1",model_name="m",position="0"} 40.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="1"} 60.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="1",model_name="m",position="1"} 20.0
vllm:spec_decode_num_drafts_created{engine="0",model_name="m"} 1.7e+09
"""


def test_a_servers_counters_give_the_rates(tmp_path: Path) -> None:
    path = tmp_path / "metrics.txt"
    path.write_text(METRICS, "utf-8")
    asked = parse_speculation(f"eagle3:metrics={path}")
    assert asked is not None
    assert asked.config == SpeculationConfig("eagle3", 2, (0.8, 0.4))
    path.write_text("vllm:num_requests_running 3\n", "utf-8")
    with pytest.raises(ConfigError, match="holds no counters of drafts"):
        parse_speculation(f"eagle3:metrics={path}")
    with pytest.raises(ConfigError, match="cannot be read"):
        parse_speculation("eagle3:metrics=/nowhere/metrics.txt")


def test_a_draft_model_must_be_named() -> None:
    text = "draft_model:num_speculative_tokens=3,synthetic_acceptance_length=2"
    with pytest.raises(ConfigError, match="add model=NAME"):
        resolve(RunConfig(trace=[program("a", turn(10, 5))], speculative_config=text, arrivals="burst"))


def test_a_drafter_takes_memory_and_time() -> None:
    model, gpu = find_model("llama-3.1-8b"), find_gpu("a100-80")
    drafter = layer_of(model)
    # A layer of Llama 3.1 8B and the projection, in bf16: 218,112,000 + 2 * 4096 * 4096 elements.
    assert drafter.weight_bytes_per_rank(ONE_GPU) == 2 * (218_103_808 + 2 * 4096 * 4096)
    assert drafter.kv_bytes_per_token(1) == 4096
    plain, drafted = (kv_blocks(model, gpu, drafter=each) for each in (None, drafter))
    assert 0.95 < drafted / plain < 0.97  # a 33rd layer of KV, and its weights
    asked = parse_speculation(EAGLE)
    assert asked is not None
    target = make_step_time("roofline", model=model, gpu=gpu)
    times = asked.timed(target, model, gpu, ONE_GPU)
    batch = StepBatch(0, 0, 0, 0, 4 * 16, 16 * 4000)
    extra = times.step_s(batch) / target.step_s(batch) - 1
    assert 0.1 < extra < 0.4, "three passes of a layer and the LM head beside 32 layers"
    ends = [times.run_s(batch, n) for n in range(1, 50)]
    for steps, end_s in enumerate(ends, start=1):
        assert times.steps_to_reach(batch, 49, end_s) == steps
        assert times.steps_to_reach(batch, 49, end_s * (1 + 1e-9)) == min(steps + 1, 49)
    free = parse_speculation(EAGLE + ",draft_s=0")
    assert free is not None
    assert free.timed(target, model, gpu, ONE_GPU).run_s(batch, 7) == target.run_s(batch, 7)


def test_a_run_says_what_was_accepted() -> None:
    programs = [program("a", turn(2000, 800, gap=1.0), turn(4000, 600)), program("b", turn(3000, 900))]
    plain, drafted = (
        run(trace=programs, policy="lru", arrivals="burst", speculative_config=text).summary for text in (None, EAGLE)
    )
    assert "drafts" not in json.loads(plain.to_json())
    assert drafted.drafts.acceptance_length == pytest.approx(2.8, abs=0.15)
    assert drafted.drafts.drafted_tokens == 3 * drafted.drafts.verifications
    assert drafted.jct_s.mean < 0.7 * plain.jct_s.mean


@pytest.mark.parametrize(("version", "ahead"), [("0.32", False), ("0.33", True)])
def test_ngram_drafts_are_planned_ahead_where_vllm_does(version: str, ahead: bool) -> None:
    text = "ngram:num_speculative_tokens=2,synthetic_acceptance_length=1.5"
    made = resolve(
        RunConfig(trace=[program("a", turn(10, 5))], speculative_config=text, arrivals="burst", vllm_version=version)
    )
    assert made.engine.async_scheduling is ahead
    assert any("plans no step ahead with ngram" in note for note in made.notes) is not ahead


def test_the_layer_that_drafts_for_a_mixture_has_its_experts() -> None:
    model = configured("deepseek-v3.2")
    layer = layer_of(model).model
    assert layer.n_experts == 256
    assert {cache.index_heads for cache in layer.caches} == {0, 64}
    assert layer.n_params_of(0) == model.n_params_of(60)
