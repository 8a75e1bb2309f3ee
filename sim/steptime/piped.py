"""The stages of a pipeline as step-time models of their own, and what it takes to hand a batch from one to the next."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.hardware.parallel import Parallel
from continuum_sim.hardware.stages import stage_layers, stages
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.common import USUAL, Conditions
from continuum_sim.steptime.communication import Communication
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.named import make_step_time, measured_on_engine
from continuum_sim.steptime.scaled import Scaled

_SENT = 2
"""Tensors as wide as the stream that a stage hands on: hidden states and residual (`IntermediateTensors`)."""


def no_send_s(batch: StepBatch) -> float:
    """Take no time to hand a step's activations to the next stage."""
    return 0.0


def pipeline_times(
    spec: str, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel, conditions: Conditions = USUAL
) -> tuple[tuple[StepTime, ...], Callable[[StepBatch], float]]:
    """Return the step times of every stage, and the seconds that a batch takes from one to the next.

    What was measured on a whole engine is divided among stages by their layers, and holds its communication.

    Raises
    ------
    ConfigError
        As of `make_step_time`, or for more stages than layers.
    """
    if parallel.pipeline_parallel_size > 1 and measured_on_engine(spec):
        whole = make_step_time(spec, model=model, gpu=gpu, parallel=parallel, conditions=conditions)
        return shared_out(whole, model, parallel.pipeline_parallel_size), no_send_s
    times = stage_step_times(spec, model=model, gpu=gpu, parallel=parallel, conditions=conditions)
    return times, hand_over_s(model, gpu, parallel)


def shared_out(whole: StepTime, model: ModelSpec, stages: int) -> tuple[StepTime, ...]:
    """Divide the step times of a whole engine among stages, by their layers."""
    return tuple(Scaled(whole, len(layers) / model.n_layers) for layers in stage_layers(model, stages))


def stage_step_times(
    spec: str, *, model: ModelSpec, gpu: GpuSpec, parallel: Parallel, conditions: Conditions = USUAL
) -> tuple[StepTime, ...]:
    """Return the step times of every stage; those of the whole model if there is one stage.

    Raises
    ------
    ConfigError
        As of `make_step_time`, or for more stages than layers.
    """
    return tuple(
        make_step_time(
            spec, model=one, gpu=gpu, parallel=parallel, conditions=replace(conditions, first_stage=number == 0)
        )
        for number, one in enumerate(stages(model, parallel))
    )


def hand_over_s(model: ModelSpec, gpu: GpuSpec, parallel: Parallel) -> Callable[[StepBatch], float]:
    """Return the seconds that a batch takes from a stage to the next, on average over all stages but the last.

    Each GPU of a stage sends its share, which the GPUs of the next gather (`isend_tensor_dict` of
    vllm/distributed/parallel_state.py).

    Raises
    ------
    ConfigError
        If the GPUs cannot be connected so.
    """
    size, last = parallel.tensor_parallel_size, parallel.pipeline_parallel_size - 1
    if not last:
        return no_send_s
    links = Communication(gpu, parallel)
    each = links.gpus_per_node
    across = sum((stage * size) // each != ((stage + 1) * size) // each for stage in range(last)) / last
    inside, outside, gather = links.send(False), links.send(True), links.cost("all_gather", size)
    token_bytes = _SENT * model.hidden * model.dtype_bytes

    def seconds(batch: StepBatch) -> float:
        message = (batch.prefill_tokens + batch.decode_requests) * token_bytes
        sent_s = (1 - across) * inside.seconds(message / size) + across * outside.seconds(message / size)
        return sent_s + gather.seconds(message)

    return seconds
