from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.errors import ConfigError
from continuum_sim.steptime import Fitted, StepBatch, fit_step_times, load_fitted, save_fitted

COEFFICIENTS: dict[str, Any] = {
    "kind": "fitted",
    "c0_s": 0.002,
    "per_token_s": 1e-5,
    "per_decode_context_token_s": 1e-8,
    "per_prefill_pair_s": 1e-10,
    "provenance": {"engine": "vLLM 0.32.0", "date": "2026-01-01"},
}


def write(folder: Path, content: object) -> Path:
    path = folder / "fit.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_a_step_by_hand() -> None:
    # Two prompts, 300 new tokens on 40 computed ones; five decoding requests over 1,000 tokens.
    batch = StepBatch(2, 300, 40, 50_000, 5, 1_000)
    model = Fitted(0.002, 1e-5, 1e-8, 1e-10)
    assert model.step_s(batch) == pytest.approx(0.002 + 305e-5 + 1_000e-8 + 50_000e-10, rel=1e-15)
    # The next step attends to one token more in each decoding request, and the chunk to itself before.
    assert model.run_s(batch, 2) == pytest.approx(2 * model.step_s(batch) + 5e-8 + 300 * 300 * 1e-10, rel=1e-14)


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    model = load_fitted(write(tmp_path, COEFFICIENTS))
    save_fitted(model, tmp_path / "copy.json")
    assert load_fitted(tmp_path / "copy.json") == model
    assert json.loads((tmp_path / "copy.json").read_text()) == COEFFICIENTS
    assert sorted(path.name for path in tmp_path.iterdir()) == ["copy.json", "fit.json"]


def test_a_failed_save_leaves_the_old_file_and_no_draft(tmp_path: Path) -> None:
    path = write(tmp_path, COEFFICIENTS)
    with pytest.raises(TypeError):
        save_fitted(Fitted(1.0, 0.0, 0.0, 0.0, provenance=object()), path)
    assert load_fitted(path).c0_s == 0.002
    assert [path.name for path in tmp_path.iterdir()] == ["fit.json"]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"c0_s": None}, "c0_s is missing, expected a finite number, zero or more"),
        ({"per_token_s": -1e-6}, "per_token_s is -1e-06, expected"),
        ({"per_token_s": "fast"}, "per_token_s is 'fast', expected"),
        ({"per_prefill_pair_s": float("inf")}, "per_prefill_pair_s is inf, expected"),
        ({"per_prefill_pair_s": float("nan")}, "per_prefill_pair_s is nan, expected"),
        ({"c0_s": True}, "c0_s is True, expected"),
        ({"per_tokn_s": 1}, "unknown field 'per_tokn_s'"),
        ({"kind": "roofline"}, 'expected a JSON object with "kind": "fitted"'),
        (dict.fromkeys(list(COEFFICIENTS)[1:5], 0), "every coefficient is zero"),
    ],
)
def test_a_wrong_file_is_refused_with_file_field_and_expectation(
    tmp_path: Path, change: dict[str, Any], expected: str
) -> None:
    path = write(tmp_path, {**COEFFICIENTS, **change})
    with pytest.raises(ConfigError, match=expected) as caught:
        load_fitted(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_json_object_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not JSON"):
        load_fitted(write(tmp_path, '{"kind": '))
    with pytest.raises(ConfigError, match="expected a JSON object"):
        load_fitted(write(tmp_path, [1]))
    with pytest.raises(ConfigError, match="cannot be read"):
        load_fitted(tmp_path / "nothing.json")


def measured(seed: int, noise: float) -> tuple[Fitted, list[StepBatch], list[float]]:
    """Steps as `calibrate` measures them, prompts and decoding apart and mixed, with relative noise."""
    rng = np.random.default_rng(seed)
    truth = Fitted(3e-3, 8e-6, 2e-8, 3e-11)
    batches = []
    for _ in range(300):
        chunk, context = int(rng.integers(1, 4096)) * int(rng.integers(0, 2)), int(rng.integers(0, 30_000))
        decodes = int(rng.integers(0 if chunk else 1, 200))
        pairs = chunk * context + chunk * (chunk + 1) // 2
        kv = int(rng.integers(decodes, 4_000 * decodes + 1))
        batches.append(StepBatch(int(chunk > 0), chunk, context * (chunk > 0), pairs, decodes, kv))
    return truth, batches, [truth.step_s(batch) * (1 + noise * float(rng.normal())) for batch in batches]


def test_a_fit_finds_the_coefficients_of_exact_times() -> None:
    truth, batches, seconds = measured(1, 0.0)
    fit = fit_step_times(batches, seconds)
    for name in ("c0_s", "per_token_s", "per_decode_context_token_s", "per_prefill_pair_s"):
        assert getattr(fit, name) == pytest.approx(getattr(truth, name), rel=1e-6)
    assert fit.provenance["residuals"]["max_absolute_relative_error"] < 1e-9


def test_a_fit_of_noisy_times_is_close_and_reports_its_residuals() -> None:
    truth, batches, seconds = measured(2, 0.05)
    fit = fit_step_times(batches, seconds)
    residuals = fit.provenance["residuals"]
    assert residuals["steps"] == 300
    # E|x| of a normal with deviation 0.05 is 0.04.
    assert residuals["mean_absolute_relative_error"] == pytest.approx(0.04, abs=0.01)
    assert [fit.step_s(batch) for batch in batches] == pytest.approx([truth.step_s(b) for b in batches], rel=0.05)


def test_short_steps_weigh_as_much_as_long_ones() -> None:
    # Two kinds of steps, of 1 ms and of 1 s, that one constant cannot both meet: the least relative error is near 1 ms.
    short, long = StepBatch(0, 0, 0, 0, 1, 1), StepBatch(1, 1, 0, 1, 0, 0)
    fit = fit_step_times([short, long] * 10, [0.001, 1.0] * 10)
    assert fit.step_s(short) == pytest.approx(0.001, rel=0.01)


@given(seed=st.integers(0, 1000))
def test_a_fit_never_has_a_negative_coefficient(seed: int) -> None:
    rng = np.random.default_rng(seed)
    batches = [StepBatch(1, int(m), 0, int(m * (m + 1) // 2), 2, 100) for m in rng.integers(1, 500, 20)]
    fit = fit_step_times(batches, rng.uniform(0.001, 1, 20).tolist())
    assert min(fit.c0_s, fit.per_token_s, fit.per_decode_context_token_s, fit.per_prefill_pair_s) >= 0


@pytest.mark.parametrize("seconds", [[0.1] * 3, [0.1, 0.1, 0.1, 0.0], [0.1, 0.1, 0.1, float("nan")]])
def test_what_cannot_be_fitted_is_refused(seconds: list[float]) -> None:
    with pytest.raises(ConfigError, match="fitting step times"):
        fit_step_times([StepBatch(0, 0, 0, 0, 1, 1)] * len(seconds), seconds)


@pytest.mark.parametrize("values", [(-1.0, 0, 0, 0), (float("nan"), 0, 0, 0), (0, 0, 0, 0)])
def test_impossible_coefficients_are_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(ConfigError, match="fitted step time"):
        Fitted(*values)
