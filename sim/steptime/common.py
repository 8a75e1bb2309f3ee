"""Settings that every step-time model takes beside its own: the host, and how uncertain its times are."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import Any, Final, cast

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.steptime.adjusted import adjusted
from continuum_sim.steptime.errors import known_error
from continuum_sim.steptime.host import (
    EAGER_EXPERTS_LAYER_S,
    EAGER_LAYER_S,
    PIECEWISE_LAYER_S,
    CudagraphMode,
    Host,
)
from continuum_sim.steptime.kind import COMMON_SETTINGS, StepTimeKind
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.ranked import graph_tokens
from continuum_sim.steptime.uncertain import SURE, Factors

_MOST_ERROR: Final = 1.0
_MOST_FACTOR: Final = 1e3


@dataclass(frozen=True)
class Conditions:
    """What step times depend on beside the model and its GPUs."""

    asynchronous: bool = True
    """Whether steps are planned while others run."""
    first_stage: bool = True
    """Whether these are the first of a pipeline's stages, for which the scheduler works."""
    factors: Factors = SURE
    """Drawn for the run, if step times have an error."""


USUAL: Final = Conditions()
"""vLLM's defaults, and no draw."""


def split_common(argument: str) -> tuple[str, dict[str, str]]:
    """Split a model's argument into its own part and the settings that all models take."""
    own: list[str] = []
    common: dict[str, str] = {}
    for item in argument.split(","):
        key, sign, value = (part.strip() for part in item.partition("="))
        if (sign and key in COMMON_SETTINGS) or item.strip() == "error":
            common[key] = value
        else:
            own.append(item)
    return ",".join(own), common


def without_error(spec: str) -> str:
    """Return a model's spec without its error."""
    name, _, argument = spec.partition(":")
    own, common = split_common(argument)
    return spec if common.pop("error", None) is None else _spec(name, own, common)


def error_of(step_time: str | StepTime, gpu: GpuSpec) -> float:
    """Return the error in a model's spec, without a value the known one; 0 if there is none, or a model is given.

    Raises
    ------
    ConfigError
        If the error is not a share from 0 to 1, or not known.
    """
    if not isinstance(step_time, str):
        return 0.0
    name, _, argument = step_time.partition(":")
    return _error(name.strip(), split_common(argument)[1], gpu)


def with_factor(spec: str, factor: float) -> str:
    """Return a model's spec with its step times times a factor, and without their error."""
    name, _, argument = without_error(spec).partition(":")
    own, common = split_common(argument)
    common["factor"] = repr(factor * _number("factor", common.get("factor", "1"), _MOST_FACTOR))
    return _spec(name, own, common)


def with_common(
    made: StepTime, kind: StepTimeKind, common: dict[str, str], model: ModelSpec, gpu: GpuSpec, conditions: Conditions
) -> StepTime:
    """Return a model's step times with the host's part on top, times the factors of the run.

    Raises
    ------
    ConfigError
        Naming a setting and what was expected.
    """
    numbers = {name: _number(name, value) for name, value in common.items() if name in _NUMBERS}
    factor = _number("factor", common.get("factor", "1"), _MOST_FACTOR)
    if not factor:
        raise ConfigError("step times: factor is 0, expected more than 0")
    error = _error(kind.name, common, gpu)
    defaults: dict[str, float] = {}
    if kind.kernels:
        eager_s = EAGER_EXPERTS_LAYER_S if model.n_experts else EAGER_LAYER_S
        defaults = {"piecewise_layer_s": PIECEWISE_LAYER_S, "eager_layer_s": eager_s}
    given = {**defaults, **numbers}
    host = Host(
        layers=model.n_layers,
        cudagraph_mode=cast(CudagraphMode, common.get("cudagraph_mode", "full_and_piecewise").lower()),
        max_cudagraph_capture_size=int(given.pop("max_cudagraph_capture_size", graph_tokens(gpu))),
        step_s=given.pop("host_s", 0.0) * conditions.first_stage,
        asynchronous=conditions.asynchronous,
        **given,
    )
    about: dict[str, Any] = {}
    if factor != 1:
        about["factor"] = factor
    if error:
        about["error"] = error
    return adjusted(made, host, Factors(*(factor * drawn for drawn in conditions.factors)), about)


_NUMBERS: Final = ("max_cudagraph_capture_size", "piecewise_layer_s", "eager_layer_s", "host_s")


def _spec(name: str, own: str, common: dict[str, str]) -> str:
    items = [*([own] if own else []), *(f"{key}={value}" for key, value in common.items())]
    return f"{name}:{','.join(items)}" if items else name


def _error(name: str, common: dict[str, str], gpu: GpuSpec) -> float:
    if common.get("error") == "":
        return known_error(name, gpu)
    return _number("error", common.get("error", "0"), _MOST_ERROR)


def _number(name: str, text: str, most: float = 1e6) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ConfigError(f"step times: {name} is {text!r}, expected a number") from None
    if not (isfinite(value) and 0 <= value <= most):
        raise ConfigError(f"step times: {name} is {text}, expected a number from 0 to {most:g}")
    return value
