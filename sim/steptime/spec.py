"""Step-time models by name, as on the command line: `roofline`, `fitted:FILE`, `profiled:DIR`, `aiconfigurator`."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.models import ModelSpec
from continuum_sim.steptime.fitted import load_fitted
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.profiled import load_profiled
from continuum_sim.steptime.roofline import Roofline, Settings

ENTRY_POINTS = "continuum_sim.step_times"
"""Entry-point group through which other packages register a `StepTimeFactory` under a name."""


class StepTimeFactory(Protocol):
    """Makes a step-time model from what follows its name and the colon, empty if nothing does."""

    def __call__(self, argument: str, *, model: ModelSpec, gpu: GpuSpec, tensor_parallel_size: int) -> StepTime:
        """Make the model, or raise ConfigError."""


def make_step_time(spec: str, *, model: ModelSpec, gpu: GpuSpec, tensor_parallel_size: int = 1) -> StepTime:
    """Make the step-time model that `NAME` or `NAME:ARGUMENT` stands for.

    Raises
    ------
    ConfigError
        For an unknown name (with the nearest one) or an argument the model refuses.
    """
    name, _, argument = spec.strip().partition(":")
    return _find(name.strip())(argument.strip(), model=model, gpu=gpu, tensor_parallel_size=tensor_parallel_size)


def _find(name: str) -> StepTimeFactory:
    if name in STEP_TIMES:
        return STEP_TIMES[name]
    plugins = {point.name: point for point in entry_points(group=ENTRY_POINTS)}
    if name in plugins:
        factory: StepTimeFactory = plugins[name].load()
        return factory
    known = sorted({*STEP_TIMES, *plugins})
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    raise ConfigError(f"unknown step-time model {name!r}: did you mean {near[0]!r}? known: {', '.join(known)}")


def _roofline(argument: str, *, model: ModelSpec, gpu: GpuSpec, tensor_parallel_size: int) -> StepTime:
    return Roofline(model, gpu, tensor_parallel_size, Settings(**_settings(argument, _ROOFLINE_SETTINGS, "roofline")))


def _fitted(argument: str, *, model: ModelSpec, gpu: GpuSpec, tensor_parallel_size: int) -> StepTime:
    return load_fitted(_path(argument, "fitted", "FILE"))


def _profiled(argument: str, *, model: ModelSpec, gpu: GpuSpec, tensor_parallel_size: int) -> StepTime:
    # `DIR` or `DIR,host_overhead_s=0.0003`; a comma inside the folder's name is not taken for a setting.
    folder, comma, rest = argument.rpartition(",")
    if not comma or "=" not in rest:
        folder, rest = argument, ""
    settings = _settings(rest, ("host_overhead_s",), "profiled")
    return load_profiled(_path(folder, "profiled", "DIR"), model, tensor_parallel_size, **settings)


def _aiconfigurator(argument: str, *, model: ModelSpec, gpu: GpuSpec, tensor_parallel_size: int) -> StepTime:
    from continuum_sim.steptime.aiconfigurator import load_aiconfigurator

    settings = _settings(argument, ("host_overhead_s",), "aiconfigurator")
    return load_aiconfigurator(model, gpu, tensor_parallel_size, **settings)


STEP_TIMES: Mapping[str, StepTimeFactory] = {
    "roofline": _roofline,
    "fitted": _fitted,
    "profiled": _profiled,
    "aiconfigurator": _aiconfigurator,
}
"""The models of this package by name."""

ONE_GPU = frozenset({"fitted", "profiled"})
"""Models read from measurements on one kind of GPU, whatever GPU is asked for."""


_ROOFLINE_SETTINGS = tuple(field.name for field in fields(Settings))


def _settings(text: str, known: Sequence[str], owner: str) -> dict[str, float]:
    """Read `key=number,key=number`."""
    values = {}
    for item in filter(None, (part.strip() for part in text.split(","))):
        key, sign, number = (part.strip() for part in item.partition("="))
        if not sign:
            raise ConfigError(f"step-time model {owner}: {item!r} is not of the form key=number")
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.0)
            raise ConfigError(f"step-time model {owner}: unknown setting {key!r}, did you mean {near[0]!r}?")
        try:
            values[key] = float(number)
        except ValueError:
            raise ConfigError(f"step-time model {owner}: {key} is {number!r}, expected a number") from None
    return values


def _path(argument: str, name: str, what: str) -> Path:
    if not argument:
        raise ConfigError(f"step-time model {name!r} needs a path: write {name}:{what}")
    return Path(argument).expanduser()
