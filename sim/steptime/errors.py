"""The error of step-time models where it is known, from `errors.toml`."""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files
from typing import Any

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec


def known_error(model: str, gpu: GpuSpec) -> float:
    """Return the relative standard deviation of a step-time model's factor on a GPU.

    Raises
    ------
    ConfigError
        If none was measured.
    """
    known = _errors().get(model, {})
    if gpu.name not in known.get("gpus", ()):
        raise ConfigError(f"the error of {model}'s step times on {gpu.name} is not known: give it, as in error=0.1")
    error: float = known["error"]
    return error


@cache
def _errors() -> dict[str, Any]:
    return tomllib.loads(files("continuum_sim.steptime").joinpath("errors.toml").read_text("utf-8"))
