from __future__ import annotations

import json
from pathlib import Path

import pytest

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import GpuSpec, ModelSpec, find_gpu, find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime import STEP_TIMES, Fitted, Roofline, StepBatch, StepTime, make_step_time, named

BATCH = StepBatch(0, 0, 0, 0, 4, 4000)
COEFFICIENTS = {
    "kind": "fitted",
    "c0_s": 0.5,
    "per_token_s": 0,
    "per_decode_context_token_s": 0,
    "per_prefill_pair_s": 0,
    "provenance": None,
}


def make(text: str) -> StepTime:
    return make_step_time(text, model=find_model("llama-3.1-8b"), gpu=find_gpu("h100"), parallel=Parallel(2))


def test_the_models_of_this_package_are_known() -> None:
    assert {"roofline", "fitted", "profiled", "aiconfigurator"} <= set(STEP_TIMES.load())


def test_roofline_takes_model_gpu_and_parallel_size() -> None:
    made = make("roofline")
    assert made.describe()["kind"] == "roofline"
    assert made.step_s(BATCH) == Roofline(find_model("llama-3.1-8b"), find_gpu("h100"), Parallel(2)).step_s(BATCH)


def test_roofline_takes_settings() -> None:
    made = make("roofline: matmul_efficiency=0.5, host_overhead_s=0.25")
    assert (made.describe()["matmul_efficiency"], made.describe()["host_overhead_s"]) == (0.5, 0.25)
    assert made.step_s(BATCH) > make("roofline").step_s(BATCH) + 0.2499


def test_fitted_takes_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a, b.json"
    path.write_text(json.dumps(COEFFICIENTS))
    made = make(f"fitted:{path}")
    assert made == Fitted(0.5, 0, 0, 0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "roofine",
            r"unknown step-time model 'roofine', did you mean 'roofline'\? known: aiconfigurator, fitted, ",
        ),
        ("", "unknown step-time model ''"),
        ("fitted", "'fitted' needs a path: write fitted:FILE"),
        ("profiled:", "'profiled' needs a path: write profiled:DIR"),
        ("fitted:/nowhere.json", r"/nowhere\.json: cannot be read"),
        ("profiled:/nowhere", "no folder /nowhere"),
        (
            "profiled:/nowhere,host_overhead=1",
            "'host_overhead' of step-time model profiled, did you mean 'host_overhead_s'",
        ),
        ("roofline:matmul=1", "'matmul' of step-time model roofline; known: matmul_efficiency, "),
        ("roofline:matmul_efficiency", "'matmul_efficiency' is not of the form key=number"),
        ("roofline:matmul_efficiency=all", "matmul_efficiency is 'all', expected a number"),
        ("roofline:matmul_efficiency=2", "matmul_efficiency is 2.0, expected more than 0 and at most 1"),
    ],
)
def test_what_cannot_be_made_is_refused_in_one_line(text: str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        make(text)
    assert "\n" not in str(caught.value)


def test_other_packages_register_models_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    def constant(argument: str, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel) -> StepTime:
        return Fitted(float(argument) * parallel.tensor_parallel_size, 0.0, 0.0, 0.0)

    monkeypatch.setitem(STEP_TIMES.load(), "constant", named._adopt("constant", constant))
    assert make("constant:0.5").step_s(BATCH) == 1.0
    with pytest.raises(ConfigError, match="did you mean 'constant'"):
        make("constnt")
