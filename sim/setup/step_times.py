"""The step times of an engine's split: those of each stage of a pipeline, if there are several."""

from __future__ import annotations

from continuum_sim.engine.pipeline.stages import Scaled, StageTimes
from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.stages import stage_layers
from continuum_sim.steptime.kind import refuse_link
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.named import make_step_time, measured_on_engine
from continuum_sim.steptime.piped import hand_over_s, stage_step_times


def split_step_time(step_time: str | StepTime, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel) -> StepTime:
    """Return the step-time model named, or the one given, for all GPUs of an engine.

    What was measured on a whole engine is divided among stages by their layers, and holds its communication.

    Raises
    ------
    ConfigError
        As of `make_step_time`; for links beside a model that was measured; or for a model given without stages.
    """
    stages = parallel.pipeline_parallel_size
    if not isinstance(step_time, str):
        refuse_link(parallel, f"the step times given ({type(step_time).__name__})")
        if stages > 1 and not isinstance(step_time, StageTimes):
            return _shared_out(step_time, model, stages)
        return step_time
    if stages == 1 or measured_on_engine(step_time):
        whole = make_step_time(step_time, model=model, gpu=gpu, parallel=parallel)
        return whole if stages == 1 else _shared_out(whole, model, stages)
    each = stage_step_times(step_time, model=model, gpu=gpu, parallel=parallel)
    return StageTimes(each, hand_over_s(model, gpu, parallel))


def _shared_out(whole: StepTime, model: ModelSpec, stages: int) -> StageTimes:
    return StageTimes([Scaled(whole, len(layers) / model.n_layers) for layers in stage_layers(model, stages)])
