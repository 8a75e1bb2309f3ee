"""Step-time models by name, as on the command line: `roofline`, `fitted:FILE`, `profiled:DIR`, `aiconfigurator`."""

from __future__ import annotations

from typing import Any, Final

from continuum_sim.errors import ConfigError
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import ONE_GPU, Parallel
from continuum_sim.names import Registry
from continuum_sim.steptime.common import USUAL, Conditions, split_common, with_common
from continuum_sim.steptime.kind import StepTimeKind
from continuum_sim.steptime.model import StepTime

STEP_TIME_ENTRY_POINTS: Final = "continuum_sim.step_times"
"""Entry-point group through which other packages add models; each names a `StepTimeKind` or a `StepTimeFactory`."""


def _adopt(name: str, factory: Any) -> StepTimeKind:
    if not callable(factory):
        raise TypeError(f"is {type(factory).__name__}, expected a StepTimeKind or a StepTimeFactory")
    return StepTimeKind(name, factory)


STEP_TIMES: Final = Registry(
    "step-time model",
    error=ConfigError,
    kind=StepTimeKind,
    folder="continuum_sim.steptime",
    group=STEP_TIME_ENTRY_POINTS,
    adopt=_adopt,
)


def make_step_time(
    spec: str, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel = ONE_GPU, conditions: Conditions = USUAL
) -> StepTime:
    """Make the step-time model named by `NAME` or `NAME:ARGUMENT`, which may hold settings of all models too.

    Raises
    ------
    ConfigError
        For an unknown name (with the nearest one), or an argument that the model refuses.
    """
    name, _, argument = spec.strip().partition(":")
    kind = STEP_TIMES.find(name.strip())
    own, common = split_common(argument.strip())
    made = kind.make(own.strip(), model=model, gpu=gpu, parallel=parallel)
    return with_common(made, kind, common, model, gpu, conditions)


def _kind_of(spec: str) -> StepTimeKind | None:
    return STEP_TIMES.load().get(spec.strip().partition(":")[0].strip())


def knows_kv_dtypes(spec: str) -> bool:
    """Return whether the model named by a spec knows the type of the KV cache; True for an unknown name."""
    kind = _kind_of(spec)
    return kind is None or kind.kv_dtypes


def measured_on_one_gpu(spec: str) -> bool:
    """Return whether the model named by a spec holds for one kind of GPU only; False for an unknown name."""
    kind = _kind_of(spec)
    return kind is not None and kind.one_gpu


def measured_on_engine(spec: str) -> bool:
    """Return whether the model named by a spec was measured on whole steps of an engine; False for an unknown name."""
    kind = _kind_of(spec)
    return kind is not None and kind.of_engine
