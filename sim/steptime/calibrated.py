"""Step times with a coefficient for every quantity of a batch, fitted to measured steps; written by `calibrate`.

Richer than `Fitted` where a real engine required it: on vLLM's CPU engine a model with one cost per token of any kind
was 15 % too high for one decoding turn and 40 % too low for a short prompt on a long cached context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np

from continuum_sim.errors import ConfigError, shown
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.piecewise import Piece, PiecewiseStepTime
from continuum_sim.steptime.ranked import at_least

KIND: Final = "calibrated"

COEFFICIENTS: Final = (
    *("c0_s", "per_token_s", "per_prefill_request_s", "per_prefill_context_token_s", "per_prefill_pair_s"),
    *("per_decode_request_s", "per_decode_context_token_s", "mixed_s"),
)
MOST_COEFFICIENT: Final = 1e6
"""Seconds (or tokens) above which a coefficient is a mistake: eleven days per token."""
_KNEES: Final = (0, 8, 16, 24, 32, 48, 64, 96, 128, 160, 192, 256, 320, 384, 448, 512, 640, 768, 1024)
"""Values of `free_tokens` tried by a fit."""
_ROUNDS: Final = 2
_FLOORS: Final = 12
"""Values of `prompt_floor_s` tried by a fit: quantiles of the faster half of the steps with prompts."""
_FLOOR_GAIN: Final = 0.9
"""Share of the mean absolute error that must be left with a floor at most, for it to be kept."""
_FLOOR_WORTH: Final = 2e-3
_TRIM: Final = 4.0
"""Steps this many robust standard deviations off count as external disturbances and are left out."""


@dataclass(frozen=True)
class Calibrated(PiecewiseStepTime):
    """c0 + Σ coefficient · quantity of the batch, where the first `free_tokens` tokens of a step cost nothing.

    Up to that knee a step reads all weights whatever it computes (the roofline's memory bound), beyond it every token
    costs compute time. Scheduled tokens are those of prefilling requests and one per decoding request.
    """

    c0_s: float
    per_token_s: float
    """Per scheduled token beyond `free_tokens`."""
    per_prefill_request_s: float
    per_prefill_context_token_s: float
    """Per computed token that prefilling requests attend to: the cost of reading its KV."""
    per_prefill_pair_s: float
    """Per pair of a new token and a token it attends to: the cost of computing attention."""
    per_decode_request_s: float
    per_decode_context_token_s: float
    mixed_s: float = 0.0
    """Per step with both prefills and decodes: an engine may run attention once for each kind."""
    free_tokens: int = 0
    provenance: Any = field(default=None, compare=False)
    """Where the coefficients come from; kept exactly as read."""
    prompt_floor_s: float = 0.0
    """Least seconds of a step with prompts: what the host takes to launch kernels that no graph holds (see `host`)."""

    def __post_init__(self) -> None:
        for name in (*COEFFICIENTS, "free_tokens", "prompt_floor_s"):
            check_coefficient("calibrated step time", name, getattr(self, name))
        if not (self.c0_s or (self.per_token_s and not self.free_tokens)):
            raise ConfigError("calibrated step time: c0_s is zero, so a step could take no time")

    def pieces(self, batch: StepBatch, n_steps: int) -> Sequence[Piece]:
        """Return one piece, as all is affine in the step's number; two where a run of prompts leaves the floor."""
        prefills, chunk, context, pairs, decodes, decode_context = batch
        first_s = (
            self.c0_s
            + self.per_token_s * max(0, chunk + decodes - self.free_tokens)
            + self.per_prefill_request_s * prefills
            + self.per_prefill_context_token_s * context
            + self.per_prefill_pair_s * pairs
            + self.per_decode_request_s * decodes
            + self.per_decode_context_token_s * decode_context
            + (self.mixed_s if prefills and decodes else 0.0)
        )
        growth_s = (
            self.per_prefill_context_token_s * chunk
            + self.per_prefill_pair_s * (chunk * chunk)
            + self.per_decode_context_token_s * decodes
        )
        whole = ((n_steps, first_s, growth_s, 0.0),)
        return at_least(whole, self.prompt_floor_s) if prefills and self.prompt_floor_s else whole

    def describe(self) -> dict[str, Any]:
        """Name, coefficients and provenance, in the form of the JSON file."""
        numbers = {name: getattr(self, name) for name in (*COEFFICIENTS, "free_tokens")}
        if self.prompt_floor_s:
            numbers["prompt_floor_s"] = self.prompt_floor_s
        return {"kind": KIND, **numbers, "provenance": self.provenance}


def read_calibrated(raw: Mapping[str, Any], where: str) -> Calibrated:
    """Make the model from the JSON object that `describe` returned; `where` names its origin in errors.

    Raises
    ------
    ConfigError
        Naming the field and what was expected.
    """
    known = (*COEFFICIENTS, "free_tokens", "prompt_floor_s")
    for name in raw:
        if name not in {"kind", "provenance", *known}:
            raise ConfigError(f"{where}: unknown field {name!r}, expected {', '.join(known)}")
    raw = {"prompt_floor_s": 0.0, **raw}  # which earlier versions did not fit
    values: dict[str, Any] = {name: check_coefficient(where, name, raw.get(name)) for name in known}
    try:
        return Calibrated(**values, provenance=raw.get("provenance"))
    except ConfigError as error:
        raise ConfigError(f"{where}: {str(error).partition(': ')[2]}") from None


def check_coefficient(owner: str, name: str, value: object) -> int | float:
    """Return a coefficient of step times; `owner` names its model or its file.

    Raises
    ------
    ConfigError
        If it is not a number, below zero, or so large that the times of a run would overflow.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MOST_COEFFICIENT:
        found = "missing" if value is None else shown(value)
        raise ConfigError(f"{owner}: {name} is {found}, expected a finite number, zero or more, at most 1e6")
    return value


def fit_calibrated(batches: Sequence[StepBatch], seconds: Sequence[float]) -> Calibrated:
    """Fit by non-negative least squares of relative errors, with the knee that leaves the smallest errors.

    Minimises Σ ((predicted - measured)/expected)² (Lawson and Hanson's NNLS), where `expected` is first the
    measurement itself and then the last fit's prediction: weights that contain the measurement's noise would favour
    steps that happened to be fast. In between, steps whose error is `_TRIM` robust standard deviations (1.4826 · median
    absolute deviation) from the median are dropped, because something else slowed the machine down. The provenance
    holds the residuals. Last, a floor of steps with prompts is tried, and kept if it is worth it.

    Raises
    ------
    ConfigError
        If there are fewer steps than coefficients, or a time is not a positive number.
    """
    measured = np.asarray(seconds, dtype=float)
    if len(batches) != len(measured) or len(measured) < len(COEFFICIENTS):
        raise ConfigError(
            f"fitting step times: {len(batches)} batches and {len(measured)} times, expected as many of both and at "
            f"least {len(COEFFICIENTS)}"
        )
    if not (np.isfinite(measured).all() and (measured > 0).all()):
        raise ConfigError("fitting step times: every measured time must be a positive number of seconds")
    numbers = np.asarray(batches, dtype=float)
    knee, coefficients = _fit(numbers, measured, measured, _KNEES)
    for _ in range(_ROUNDS):
        expected = np.maximum(_design(numbers, knee) @ coefficients, 1e-9)
        knee, coefficients = _fit(numbers, measured, expected, _KNEES)
    modelled = _design(numbers, knee) @ coefficients
    errors = measured / modelled - 1.0
    off = np.abs(errors - np.median(errors))
    kept = off <= max(_TRIM * 1.4826 * float(np.median(off)), 1e-9)
    knee, coefficients = _fit(numbers[kept], measured[kept], modelled[kept], _KNEES)
    floor_s, knee, coefficients = _with_floor(numbers[kept], measured[kept], knee, coefficients)
    errors = _modelled(numbers, knee, coefficients, floor_s) / measured - 1.0
    values = dict(zip(COEFFICIENTS, map(float, coefficients), strict=True))
    residuals = _residuals(errors, kept)
    return Calibrated(**values, free_tokens=knee, prompt_floor_s=floor_s, provenance={"residuals": residuals})


def scaled(model: Calibrated, factor: float) -> Calibrated:
    """Return a model whose every step takes `factor` times as long."""
    return replace(model, **{name: getattr(model, name) * factor for name in (*COEFFICIENTS, "prompt_floor_s")})


_Array = np.ndarray[Any, np.dtype[np.float64]]


def _fit(numbers: _Array, measured: _Array, expected: _Array, knees: Sequence[int]) -> tuple[int, _Array]:
    """Return knee and coefficients of the least squares in units of `expected`."""
    from scipy.optimize import nnls  # slow to import, and only fitting needs it

    best: tuple[float, int, _Array] | None = None
    most = float((numbers[:, 1] + numbers[:, 4]).max())
    for knee in knees:
        if knee and knee >= most:
            break
        design = _design(numbers, knee) / expected[:, None]
        # Columns of similar size, or the solver's tolerance would drop the small ones.
        norms = np.linalg.norm(design, axis=0)
        scale = np.where(norms > 0, norms, 1.0)
        solution, residual = nnls(design / scale, measured / expected)
        # A larger knee must be worth it: the first one within 0.1 % of the best wins.
        if best is None or residual < best[0] * 0.999:
            best = (residual, knee, solution / scale)
    assert best is not None
    return best[1:]


def _with_floor(numbers: _Array, measured: _Array, knee: int, coefficients: _Array) -> tuple[float, int, _Array]:
    """Return floor, knee and coefficients; steps at the floor tell nothing of coefficients. Without a floor if no
    floor leaves errors clearly smaller: without one the steps are what they are fitted to.
    """
    before = float(np.abs(_modelled(numbers, knee, coefficients, 0.0) / measured - 1.0).mean())
    best = (0.0, knee, coefficients)
    prompts = numbers[:, 0] > 0
    if before < _FLOOR_WORTH or prompts.sum() < _FLOORS:
        return best
    least = min(_FLOOR_GAIN * before, before - _FLOOR_WORTH)
    for floor_s in dict.fromkeys(np.quantile(measured[prompts], np.linspace(0.02, 0.5, _FLOORS)).tolist()):
        above = ~(prompts & (measured <= 1.02 * floor_s))
        for _ in range(_ROUNDS):
            if above.sum() < len(COEFFICIENTS):
                break
            found = _fit(numbers[above], measured[above], measured[above], _KNEES)
            modelled = _design(numbers, found[0]) @ found[1]
            above = ~(prompts & (modelled < floor_s))
        else:
            at_floor = measured[~above]
            floor_s = float(np.median(at_floor)) if len(at_floor) else floor_s
            error = float(np.abs(_modelled(numbers, *found, floor_s) / measured - 1.0).mean())
            if error < least:
                least, best = error, (floor_s, *found)
    return best


def _modelled(numbers: _Array, knee: int, coefficients: _Array, floor_s: float) -> _Array:
    seconds = _design(numbers, knee) @ coefficients
    return np.where(numbers[:, 0] > 0, np.maximum(seconds, floor_s), seconds)


def _design(numbers: _Array, knee: int) -> _Array:
    prefills, tokens, context, pairs, decodes, decode_context = numbers.T
    paid = np.maximum(0.0, tokens + decodes - knee)
    mixed = (prefills > 0) & (decodes > 0)
    return np.stack([np.ones(len(numbers)), paid, prefills, context, pairs, decodes, decode_context, mixed], axis=1)


def _residuals(errors: _Array, kept: np.ndarray[Any, np.dtype[np.bool_]]) -> dict[str, float | int]:
    sizes = np.abs(errors[kept])
    return {
        "steps": len(errors),
        "dropped_steps": int((~kept).sum()),
        "mean_relative_error": float(errors[kept].mean()),
        "mean_absolute_relative_error": float(sizes.mean()),
        "p90_absolute_relative_error": float(np.quantile(sizes, 0.9)),
        "max_absolute_relative_error": float(sizes.max()),
    }
