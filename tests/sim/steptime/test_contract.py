"""The contract that every step-time model keeps, over random batches and runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime import (
    Calibrated,
    Fitted,
    PiecewiseStepTime,
    Roofline,
    SingleStepTime,
    StepBatch,
    StepTime,
    VectorStepTime,
    grown,
    make_step_time,
)
from continuum_sim.steptime.adjusted import adjusted, parts_of
from continuum_sim.steptime.gridded import Gridded, sample
from continuum_sim.steptime.host import Host
from continuum_sim.steptime.piecewise import Piece
from continuum_sim.steptime.uncertain import Factors
from support.configurations import configured

RECORDED = Path(__file__).parents[4] / "shared/gpu-runs/rtx4090-llama-3.1-8b"


LAYERS = {
    "qwen3-30b-a3b": 1,
    "deepseek-v3.2": 8,
    "deepseek-v4-flash": 4,
    "kimi-linear-48b-a3b": 2,
    "llama-4-scout": 4,
    "nemotron-h-56b-base-8k": 2,
    "qwen3-next-80b-a3b-fp8": 2,
    "gpt-oss-120b": 1,
    "mamba-2.8b": 1,
}
"""Configurations with every kind of layer, and the GPUs of each."""


class ByStep(SingleStepTime):
    def step_s(self, batch: StepBatch) -> float:
        return 1e-3 + 1e-9 * batch.decode_context_tokens**1.5 + 1e-12 * batch.prefill_pairs

    def describe(self) -> dict[str, Any]:
        return {"kind": "by step"}


class ByArray(VectorStepTime):
    def steps_s(self, batch: StepBatch, n_steps: int) -> NDArray[np.float64]:
        contexts = batch.decode_context_tokens + np.arange(n_steps) * batch.decode_requests
        return 1e-3 + 1e-9 * contexts**1.5 + 1e-6 * batch.prefill_tokens

    def describe(self) -> dict[str, Any]:
        return {"kind": "by array"}


class Quadratic(PiecewiseStepTime):
    """A step that costs the square of its decode and prefill context."""

    def pieces(self, batch: StepBatch, n_steps: int) -> list[Piece]:
        context = batch.decode_context_tokens + batch.prefill_context_tokens
        growth = batch.decode_requests + batch.prefill_tokens
        return [(n_steps, 1e-3 + 1e-12 * context**2, 2e-12 * context * growth, 1e-12 * growth**2)]

    def describe(self) -> dict[str, Any]:
        return {"kind": "quadratic"}


def roughly(prefills: int, tokens: int, context: int, decodes: int, decode_context: int) -> float:
    """Seconds of a step, with bends between the nodes of any grid."""
    dense_s = max(5e-3, 2.1e-5 * (tokens + decodes)) + 1e-4 * (-(-tokens // 96))
    pairs = tokens * (context + tokens / 2) / max(prefills, 1)
    return dense_s + max(1e-9 * pairs, 3e-9 * context) + 4e-8 * decode_context + 2e-6 * decodes**1.5


def models() -> dict[str, StepTime]:
    llama, gemma = find_model("llama-3.1-8b"), find_model("gemma-3-12b")
    made: dict[str, StepTime] = {
        "fitted": Fitted(2e-3, 4e-5, 3e-8, 2e-9),
        "roofline": Roofline(llama, find_gpu("h100")),
        "roofline tp": Roofline(find_model("llama-3.1-70b"), find_gpu("a100-80"), Parallel(4)),
        "roofline window": Roofline(gemma, find_gpu("rtx-4090"), Parallel(2)),
        **{
            f"roofline {name}": Roofline(
                configured(name), replace(find_gpu("h200"), fp8_dense_flops=1.979e15), Parallel(size)
            )
            for name, size in LAYERS.items()
        },
        "gridded": Gridded(sample(roughly), 3e-4, {"kind": "gridded"}),
        "by step": ByStep(),
        "by array": ByArray(),
        "quadratic": Quadratic(),
    }
    floors = Host(32, piecewise_layer_s=2e-4, eager_layer_s=5e-4, step_s=1e-3)
    waiting, drawn = replace(floors, asynchronous=False), Factors(0.9, 1.2)
    made["roofline with a host"] = adjusted(made["roofline"], floors)
    made["roofline window, a waiting host"] = adjusted(made["roofline window"], waiting, drawn)
    made["fitted with a host"] = adjusted(made["fitted"], floors, drawn)
    made["quadratic with a host"] = adjusted(made["quadratic"], replace(floors, eager_layer_s=1e-3))
    made["by array with a host"] = adjusted(made["by array"], waiting, drawn)
    made["calibrated with a floor"] = Calibrated(3e-3, 8e-5, 0, 5e-7, 2.6e-8, 6e-5, 3.5e-7, prompt_floor_s=0.05)
    if RECORDED.is_dir():
        made["profiled"] = make_step_time(f"profiled:{RECORDED}", model=llama, gpu=find_gpu("rtx-4090"))
    return made


MODELS = models()


@st.composite
def batches(draw: st.DrawFn) -> StepBatch:
    """Draw a batch as a scheduler makes them, with at most one prefilling request (a run holds no more)."""
    decodes = draw(st.integers(0, 300))
    context = sum(draw(st.lists(st.integers(1, 40_000), min_size=1, max_size=3))) * decodes // 3 + decodes
    if decodes and draw(st.booleans()):
        return StepBatch(0, 0, 0, 0, decodes, context)
    chunk, cached = draw(st.integers(1, 8192)), draw(st.integers(0, 60_000))
    return StepBatch(1, chunk, cached, chunk * cached + chunk * (chunk + 1) // 2, decodes, context)


every_model = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS)
some = settings(max_examples=25)
"""Of each model; CI multiplies them (see CONTRIBUTING)."""


@every_model
@some
@given(batch=batches(), n=st.integers(1, 60))
def test_a_run_is_the_sum_of_its_steps(model: StepTime, batch: StepBatch, n: int) -> None:
    one_by_one = sum(model.step_s(grown(batch, j)) for j in range(n))
    assert model.run_s(batch, n) == pytest.approx(one_by_one, rel=1e-9)


@every_model
@some
@given(batch=batches())
def test_a_run_of_one_is_the_step(model: StepTime, batch: StepBatch) -> None:
    assert model.run_s(batch, 1) == model.step_s(batch) > 0


@some
@given(batch=batches(), n=st.integers(1, 100_000), cut=st.floats(0, 1))
def test_a_run_can_be_cut_anywhere(batch: StepBatch, n: int, cut: float) -> None:
    first = max(1, int(cut * n))
    for name in MODELS.keys() - {"by step", "by array", "by array with a host", "gridded"}:
        model = MODELS[name]
        parts = model.run_s(batch, first) + (model.run_s(grown(batch, first), n - first) if n > first else 0.0)
        assert model.run_s(batch, n) == pytest.approx(parts, rel=1e-9), name


@every_model
@some
@given(batch=batches(), n=st.integers(1, 3000), share=st.floats(-0.1, 1.2))
def test_steps_to_reach_is_the_least_number_that_does(model: StepTime, batch: StepBatch, n: int, share: float) -> None:
    n = min(n, 60) if isinstance(model, ByStep) else n
    elapsed_s = share * model.run_s(batch, n)
    k = model.steps_to_reach(batch, n, elapsed_s)
    assert 1 <= k <= n
    assert model.run_s(batch, k) >= elapsed_s or k == n
    assert k == 1 or model.run_s(batch, k - 1) < elapsed_s


@every_model
@some
@given(batch=batches(), n=st.integers(1, 3000), k=st.integers(1, 3000))
def test_the_exact_end_of_a_step_is_reached_by_that_step(model: StepTime, batch: StepBatch, n: int, k: int) -> None:
    n = min(n, 60) if isinstance(model, ByStep) else n
    k = min(k, n)
    assert model.steps_to_reach(batch, n, model.run_s(batch, k)) == k


@every_model
def test_every_model_describes_itself_in_plain_data(model: StepTime) -> None:
    said = model.describe()
    assert said["kind"]
    assert json.loads(json.dumps(said)) == said


def test_growth_adds_the_chunk_to_the_context_and_a_token_to_every_decoding_request() -> None:
    batch = StepBatch(1, 10, 100, 10 * 100 + 55, 3, 50)
    assert grown(batch, 0) == batch
    assert grown(batch, 2) == StepBatch(1, 10, 120, 10 * 120 + 55, 3, 56)


@pytest.mark.parametrize("name", [name for name in MODELS if name.startswith("roofline") and "waiting" not in name])
@some
@given(batch=batches())
def test_the_parts_of_a_step_add_up_to_it(name: str, batch: StepBatch) -> None:
    model = MODELS[name]
    parts = parts_of(model, batch)
    assert sum(part.seconds for part in parts) == pytest.approx(model.step_s(batch), rel=1e-9)
    assert all(part.seconds > 0 for part in parts)
