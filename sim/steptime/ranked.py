"""Step times of data-parallel ranks that step together: each step ends when the slowest rank's does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from continuum_sim.steptime.bases import VectorStepTime
from continuum_sim.steptime.batch import StepBatch, grown
from continuum_sim.steptime.model import RankedStepTime, StepTime
from continuum_sim.steptime.piecewise import Piece, PiecewiseStepTime

NO_WORK: Final = StepBatch(0, 0, 0, 0, 0, 0)
"""The batch of a rank without turns."""

DUMMY: Final = StepBatch(0, 0, 0, 0, 1, 1)
"""What it runs nevertheless: one token (`execute_dummy_batch` of vllm/v1/worker/gpu_worker.py)."""


def ranked(step_time: StepTime) -> RankedStepTime:
    """Return step times of ranks: the model's own, or else those of its slowest rank."""
    if hasattr(step_time, "together_s"):
        return cast(RankedStepTime, step_time)
    return Slowest(step_time)


def steps_of(step_time: StepTime, batch: StepBatch, n_steps: int) -> NDArray[np.float64]:
    """Return the seconds of each of the n steps of a run."""
    if isinstance(step_time, PiecewiseStepTime):
        return spread(step_time.pieces(batch, n_steps))
    if isinstance(step_time, VectorStepTime):
        return step_time.steps_s(batch, n_steps)
    return np.array([step_time.step_s(grown(batch, j)) for j in range(n_steps)])


def spread(pieces: Sequence[Piece]) -> NDArray[np.float64]:
    """Return the seconds of each step of the pieces of a run."""
    found = []
    for n, a, b, c in pieces:
        j = np.arange(n, dtype=float)
        found.append(a + j * (b + j * c))
    return found[0] if len(found) == 1 else np.concatenate(found)


class Slowest:
    """The step times of a model that knows no other ranks: whoever is slowest keeps all others waiting."""

    def __init__(self, step_time: StepTime) -> None:
        self.step_time = step_time

    def step_s(self, batch: StepBatch) -> float:
        """Seconds of one step."""
        return self.step_time.step_s(batch)

    def run_s(self, batch: StepBatch, n_steps: int) -> float:
        """Seconds of a run of n steps."""
        return self.step_time.run_s(batch, n_steps)

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Least k in 1..n_steps with run_s(batch, k) >= elapsed_s; n_steps if there is none."""
        return self.step_time.steps_to_reach(batch, n_steps, elapsed_s)

    def describe(self) -> dict[str, Any]:
        """Describe the model."""
        return self.step_time.describe()

    def together_s(self, batches: Sequence[StepBatch]) -> float:
        """Seconds of one step of all ranks."""
        return float(self.together_runs_s(batches, 1)[0])

    def together_runs_s(self, batches: Sequence[StepBatch], n_steps: int) -> NDArray[np.float64]:
        """Seconds of each of n steps of all ranks."""
        model, different = self.step_time, dict.fromkeys(batches)
        seconds = np.zeros(n_steps)
        for batch in different:  # a dummy step has no context that grows
            seconds = np.maximum(seconds, steps_of(model, batch, n_steps) if batch != NO_WORK else model.step_s(DUMMY))
        return seconds
