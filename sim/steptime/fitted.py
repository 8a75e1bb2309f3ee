"""Affine step times with coefficients fitted to measured steps, stored as JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.readers import read_json
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.calibrated import KIND as CALIBRATED
from continuum_sim.steptime.calibrated import Calibrated, check_coefficient, read_calibrated
from continuum_sim.steptime.kind import StepTimeKind, read_path, refuse_link
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.piecewise import Piece, PiecewiseStepTime
from continuum_sim.traces.files import write_text

_COEFFICIENTS = ("c0_s", "per_token_s", "per_decode_context_token_s", "per_prefill_pair_s")


@dataclass(frozen=True)
class Fitted(PiecewiseStepTime):
    """c0 + per_token·(scheduled tokens) + per_decode_context_token·(decode context) + per_prefill_pair·(pairs).

    Scheduled tokens are the new tokens of prefilling requests and one per decoding request. All in seconds.
    """

    c0_s: float
    per_token_s: float
    per_decode_context_token_s: float
    per_prefill_pair_s: float
    provenance: Any = field(default=None, compare=False)
    """Where the coefficients come from; kept exactly as read."""

    def __post_init__(self) -> None:
        for name in _COEFFICIENTS:
            check_coefficient("fitted step time", name, getattr(self, name))
        if not any(getattr(self, name) for name in _COEFFICIENTS):
            raise ConfigError("fitted step time: every coefficient is zero, so steps would take no time")

    def pieces(self, batch: StepBatch, n_steps: int) -> Sequence[Piece]:
        """Return one piece: every term is affine in the step's number."""
        _, chunk, _, pairs, decodes, context = batch
        first_s = (
            self.c0_s
            + self.per_token_s * (chunk + decodes)
            + self.per_decode_context_token_s * context
            + self.per_prefill_pair_s * pairs
        )
        growth_s = self.per_decode_context_token_s * decodes + self.per_prefill_pair_s * (chunk * chunk)
        return ((n_steps, first_s, growth_s, 0.0),)

    def describe(self) -> dict[str, Any]:
        """Name, coefficients and provenance, in the form of the JSON file."""
        coefficients = {name: getattr(self, name) for name in _COEFFICIENTS}
        return {"kind": "fitted", **coefficients, "provenance": self.provenance}


def load_fitted(path: Path) -> Fitted | Calibrated:
    """Read coefficients from JSON: `{"kind": "fitted", "c0_s": …, …, "provenance": …}`, or `"kind": "calibrated"`.

    Raises
    ------
    ConfigError
        Naming the file, the field and what was expected.
    """
    try:
        raw = read_json(path, finite=False)
    except ConfigError as error:
        raise ConfigError(f"fitted step time {error}") from None
    if isinstance(raw, dict) and raw.get("kind") == CALIBRATED:
        return read_calibrated(raw, f"calibrated step time {path}")
    if not isinstance(raw, dict) or raw.get("kind") != "fitted":
        raise ConfigError(f'fitted step time {path}: expected a JSON object with "kind": "fitted"')
    unknown = sorted(set(raw) - {"kind", "provenance", *_COEFFICIENTS})
    if unknown:
        raise ConfigError(f"fitted step time {path}: unknown field {unknown[0]!r}, expected {', '.join(_COEFFICIENTS)}")
    values = {name: check_coefficient(f"fitted step time {path}", name, raw.get(name)) for name in _COEFFICIENTS}
    if not any(values.values()):
        raise ConfigError(f"fitted step time {path}: every coefficient is zero, so steps would take no time")
    return Fitted(**values, provenance=raw.get("provenance"))


def save_fitted(model: Fitted | Calibrated, path: Path) -> None:
    """Write coefficients as JSON; the file appears whole or not at all."""
    text = json.dumps(model.describe(), indent=2, ensure_ascii=False, allow_nan=False)
    write_text(path, text + "\n")


def fit_step_times(batches: Sequence[StepBatch], seconds: Sequence[float]) -> Fitted:
    """Fit the coefficients to measured steps by non-negative least squares of the relative errors.

    Relative, because steps range over orders of magnitude and a policy's waits are sums of short steps as much as of
    long ones: minimises Σ ((predicted - measured)/measured)² (Lawson and Hanson's NNLS). The provenance of the result
    holds the residuals; add engine, device and date before saving.

    Raises
    ------
    ConfigError
        If there are fewer steps than coefficients, or a time is not a positive number.
    """
    from scipy.optimize import nnls  # slow to import, and only fitting needs it

    measured = np.asarray(seconds, dtype=float)
    if len(batches) != len(measured) or len(measured) < len(_COEFFICIENTS):
        raise ConfigError(
            f"fitting step times: {len(batches)} batches and {len(measured)} times, expected as many of both and at "
            f"least {len(_COEFFICIENTS)}"
        )
    if not (np.isfinite(measured).all() and (measured > 0).all()):
        raise ConfigError("fitting step times: every measured time must be a positive number of seconds")
    rows = [(1, b.prefill_tokens + b.decode_requests, b.decode_context_tokens, b.prefill_pairs) for b in batches]
    design = np.asarray(rows, dtype=float) / measured[:, None]
    # Columns of similar size, or the solver's tolerance would drop the small ones.
    scale = np.where((norms := np.linalg.norm(design, axis=0)) > 0, norms, 1.0)
    solution, _ = nnls(design / scale, np.ones(len(measured)))
    coefficients = solution / scale
    errors = design @ coefficients - 1.0
    values = dict(zip(_COEFFICIENTS, coefficients.tolist(), strict=True))
    return Fitted(**values, provenance={"residuals": _residuals(errors)})


def _residuals(errors: NDArray[np.float64]) -> dict[str, float | int]:
    sizes = np.abs(errors)
    return {
        "steps": len(errors),
        "mean_relative_error": float(errors.mean()),
        "mean_absolute_relative_error": float(sizes.mean()),
        "p90_absolute_relative_error": float(np.quantile(sizes, 0.9)),
        "max_absolute_relative_error": float(sizes.max()),
    }


def _make(argument: str, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel) -> StepTime:
    refuse_link(parallel, f"step times of fitted:{argument}")
    return load_fitted(read_path(argument, "fitted", "FILE"))


STEP_TIME = StepTimeKind("fitted", _make, one_gpu=True, kv_dtypes=False, of_engine=True)
