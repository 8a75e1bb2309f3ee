"""The step times of an engine's split: those of each stage of a pipeline, if there are several."""

from __future__ import annotations

from typing import Final

import numpy as np

from continuum_sim.engine.pipeline.stages import StageTimes
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.steptime.common import USUAL, Conditions, error_of
from continuum_sim.steptime.kind import refuse_link
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.piped import pipeline_times, shared_out
from continuum_sim.steptime.uncertain import SURE, Factors, draw_factors

_STREAM: Final = 0x73746570
"""Separates the draw of step times from all others made with a run's seed."""


def drawn_factors(step_time: str | StepTime, gpu: GpuSpec, seed: int) -> Factors:
    """Return what multiplies a run's step times: a draw if they have an error, the same for every policy.

    Raises
    ------
    ConfigError
        If the error is not a share, or not known.
    """
    error = error_of(step_time, gpu)
    return draw_factors(error, np.random.default_rng([seed, _STREAM])) if error else SURE


def split_step_time(
    step_time: str | StepTime, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel, conditions: Conditions = USUAL
) -> StepTime:
    """Return the step-time model named, or the one given, for all GPUs of an engine.

    Raises
    ------
    ConfigError
        As of `pipeline_times`, or for links beside a model that is given.
    """
    stages = parallel.pipeline_parallel_size
    if isinstance(step_time, str):
        times, send_s = pipeline_times(step_time, model=model, gpu=gpu, parallel=parallel, conditions=conditions)
        return times[0] if stages == 1 else StageTimes(times, send_s)
    refuse_link(parallel, f"the step times given ({type(step_time).__name__})")
    if stages == 1 or isinstance(step_time, StageTimes):
        return step_time
    return StageTimes(shared_out(step_time, model, stages))
