"""The calibrated step-time model: its fit, its closed form, its file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.hardware import find_gpu, find_model
from continuum_sim.steptime import (
    Calibrated,
    Roofline,
    StepBatch,
    fit_calibrated,
    grown,
    load_fitted,
    make_step_time,
    save_fitted,
)

MODEL = Calibrated(0.003, 8e-5, 1e-3, 5e-7, 2.6e-8, 6e-5, 3.5e-7, 9e-4)


def batch(new: int = 0, cached: int = 0, decodes: int = 0, context: int = 0) -> StepBatch:
    pairs = new * cached + new * (new + 1) // 2
    return StepBatch(int(new > 0), new, cached, pairs, decodes, decodes * (context + 1))


def grid() -> list[StepBatch]:
    prefills = [batch(new, cached) for new in (1, 16, 64, 128, 256, 512, 1024, 2048) for cached in (0, 512, 4096)]
    decodes = [batch(decodes=n, context=c) for n in (1, 2, 4, 8, 16, 32, 64) for c in (16, 512, 4096)]
    mixed = [batch(new, 256, n, 1024) for new in (32, 512, 1024) for n in (2, 8, 24)]
    return [*prefills, *decodes, *mixed]


def test_a_fit_finds_the_coefficients_that_made_the_steps() -> None:
    batches = grid()
    fitted = fit_calibrated(batches, [MODEL.step_s(b) for b in batches])
    for name, value in MODEL.describe().items():
        if name not in ("kind", "provenance"):
            assert getattr(fitted, name) == pytest.approx(value, rel=1e-3), name


def test_a_fit_finds_the_knee() -> None:
    truth = Calibrated(0.01, 3e-5, 0, 0, 1e-9, 0, 1e-8, free_tokens=256)
    batches = grid()
    fitted = fit_calibrated(batches, [truth.step_s(b) for b in batches])
    assert fitted.free_tokens == 256
    assert fitted.per_token_s == pytest.approx(3e-5, rel=1e-2)


def test_a_few_disturbed_steps_do_not_move_the_fit() -> None:
    rng = np.random.default_rng(1)
    batches = grid() * 6
    seconds = np.array([MODEL.step_s(b) for b in batches]) * rng.normal(1.0, 0.01, len(batches))
    disturbed = seconds.copy()
    disturbed[rng.choice(len(seconds), 15, replace=False)] *= 4
    fitted = fit_calibrated(batches, disturbed.tolist())
    assert fitted.provenance["residuals"]["dropped_steps"] >= 15
    for b in grid():
        assert fitted.step_s(b) == pytest.approx(MODEL.step_s(b), rel=0.02)


def test_a_fit_finds_the_floor_of_steps_with_prompts() -> None:
    truth = Calibrated(2e-3, 2e-5, 0, 1e-8, 1e-9, 1e-5, 3e-8, prompt_floor_s=9e-3)
    rng = np.random.default_rng(2)
    batches = grid() * 3
    fitted = fit_calibrated(batches, [truth.step_s(b) * rng.normal(1.0, 0.01) for b in batches])
    assert fitted.prompt_floor_s == pytest.approx(9e-3, rel=0.02)
    assert fitted.c0_s == pytest.approx(2e-3, rel=0.05)
    for b in grid():
        assert fitted.step_s(b) == pytest.approx(truth.step_s(b), rel=0.05)


def test_a_fit_finds_no_floor_where_there_is_none() -> None:
    rng = np.random.default_rng(3)
    batches = grid() * 3
    assert fit_calibrated(batches, [MODEL.step_s(b) * rng.normal(1.0, 0.02) for b in batches]).prompt_floor_s == 0


def test_it_follows_a_gpu_where_a_plain_line_cannot() -> None:
    """Steps below the roofline's knee cost the same however many tokens they hold."""
    gpu = Roofline(find_model("llama-3.1-8b"), find_gpu("h100-80"))
    batches = grid()
    seconds = [gpu.step_s(b) for b in batches]
    fitted = fit_calibrated(batches, seconds)
    errors = [abs(fitted.step_s(b) / s - 1) for b, s in zip(batches, seconds, strict=True)]
    assert float(np.mean(errors)) < 0.06
    assert fitted.free_tokens > 0


@given(
    st.builds(batch, st.integers(0, 2000), st.integers(0, 9000), st.integers(0, 50), st.integers(0, 9000)),
    st.integers(1, 300),
    st.integers(0, 400),
)
def test_a_run_is_the_sum_of_its_steps(start: StepBatch, steps: int, free: int) -> None:
    model = Calibrated(0.003, 8e-5, 1e-3, 5e-7, 2.6e-8, 6e-5, 3.5e-7, 9e-4, free)
    one_by_one = sum(model.step_s(grown(start, j)) for j in range(steps))
    assert model.run_s(start, steps) == pytest.approx(one_by_one, rel=1e-9)
    assert model.steps_to_reach(start, steps, model.run_s(start, steps)) == steps


def test_the_file_is_what_fitted_takes(tmp_path: Path) -> None:
    path = tmp_path / "fitted.json"
    model = Calibrated(0.003, 8e-5, 1e-3, 5e-7, 2.6e-8, 6e-5, 3.5e-7, 9e-4, 64, {"device": "here"})
    save_fitted(model, path)
    assert load_fitted(path) == model
    assert load_fitted(path).provenance == {"device": "here"}
    gpu = find_gpu("h100-80")
    assert make_step_time(f"fitted:{path}", model=find_model("llama-3.1-8b"), gpu=gpu) == model


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"c0_s": None}, "c0_s is missing"),
        ({"per_token_s": "fast"}, "per_token_s"),
        ({"per_token_s": -1e-5}, "per_token_s"),
        ({"colour": 1}, "colour"),
        ({"c0_s": 0}, "c0_s is zero"),
    ],
)
def test_a_bad_file_is_refused_by_field(tmp_path: Path, change: dict[str, Any], named: str) -> None:
    path = tmp_path / "fitted.json"
    raw = {**MODEL.describe(), "free_tokens": 5, **change}
    path.write_text(json.dumps({name: value for name, value in raw.items() if value is not None}))
    with pytest.raises(ConfigError, match=named):
        load_fitted(path)


def test_too_few_steps_and_odd_times_are_refused() -> None:
    with pytest.raises(ConfigError, match="at least 8"):
        fit_calibrated(grid()[:5], [1.0] * 5)
    with pytest.raises(ConfigError, match="positive"):
        fit_calibrated(grid()[:8], [1.0] * 7 + [0.0])
