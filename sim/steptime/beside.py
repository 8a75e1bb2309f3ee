"""What decoding requests beside prompts cost, for step times that add up kernels of prompts and of decoding alone."""

from __future__ import annotations

from collections.abc import Callable

from continuum_sim.hardware.gpus import GpuSpec
from continuum_sim.hardware.model_spec import ModelSpec
from continuum_sim.steptime.attending import attending
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.rates import Rates
from continuum_sim.steptime.varlen import goes_through, step_s, tiled

Beside = Callable[[StepBatch], float]
"""A step with prompts and decoding requests -> seconds that it takes besides those of both alone."""


def beside(model: ModelSpec, gpu: GpuSpec, size: int) -> Beside | None:
    """Return what vLLM's one kernel for both adds, on one of `size` GPUs; None where attention goes through another.

    It is what the tiles of decoding requests add to those of the prompts (`varlen`), instead of the kernel that decodes
    alone, which is left out at the shares of the GPU catalogue.
    """
    layers = tiled(model, gpu, size)
    if not layers:
        return None
    alone = attending(model, size, Rates.of(gpu, {}), but=lambda cache: not goes_through(cache))
    call_s = gpu.attention_latency_s * sum(layer.n_layers for layer in layers)

    def beside_s(batch: StepBatch) -> float:
        prompts = batch._replace(decode_requests=0, decode_context_tokens=0)
        decoding_s = sum([part.n_layers * part.decode_s * part.attended_tokens(batch) for part in alone])
        return step_s(layers, batch) - step_s(layers, prompts) - decoding_s - call_s

    return beside_s
