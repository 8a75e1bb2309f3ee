"""Step-time models that can be computed by hand, and one without a closed form."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from continuum_sim.engine.pipeline.stages import StageTimes
from continuum_sim.steptime.bases import VectorStepTime
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.fitted import Fitted


def constant(seconds: float = 1.0) -> Fitted:
    """Return a model in which every step takes the same time, so that step k starts at k seconds."""
    return Fitted(seconds, 0.0, 0.0, 0.0)


def affine(
    c0_s: float = 0.0117,
    per_token_s: float = 3.1e-4,
    per_decode_context_token_s: float = 7.3e-7,
    per_prefill_pair_s: float = 1.9e-8,
) -> Fitted:
    """Return an affine model; the defaults are typical of a GPU and have no common divisor."""
    return Fitted(c0_s, per_token_s, per_decode_context_token_s, per_prefill_pair_s)


def unequal(stages: int) -> StageTimes:
    """Return a pipeline of stages that take 2, 3, … parts of an affine step, and the first as long as the last."""
    return StageTimes([affine(0.004 * part, 1e-4 * part) for part in (stages, *range(2, stages + 1))])


class Bent(VectorStepTime):
    """The larger of a compute and a memory time, plus a root of the batch: neither closed-form nor smooth."""

    def steps_s(self, batch: StepBatch, n_steps: int) -> NDArray[np.float64]:
        steps = np.arange(n_steps, dtype=float)
        chunk, decodes = batch.prefill_tokens, batch.decode_requests
        pairs = batch.prefill_pairs + steps * chunk * chunk
        context = batch.decode_context_tokens + steps * decodes
        prefix = batch.prefill_context_tokens + steps * chunk
        compute_s = 0.0031 + 2.3e-4 * (chunk + decodes) + 1.7e-7 * pairs
        memory_s = 0.0029 + 8.9e-6 * (context + prefix)
        return np.maximum(compute_s, memory_s) + 1.3e-3 * np.sqrt(decodes + batch.prefill_requests)

    def describe(self) -> dict[str, Any]:
        return {"kind": "bent"}
