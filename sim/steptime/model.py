"""The step-time contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from continuum_sim.steptime.batch import StepBatch

Line = tuple[float, float]
"""Seconds of the first step of a run, and how much more each step takes than the one before."""


class StepTime(Protocol):
    """How long engine steps take.

    A run is n consecutive steps that start with `batch` and grow as in `grown`. The methods agree: `run_s`
    of one step is `step_s`, and `run_s` grows with every further step.
    """

    def step_s(self, batch: StepBatch) -> float:
        """Seconds of one step."""

    def run_s(self, batch: StepBatch, n_steps: int) -> float:
        """Seconds of a run of n steps."""

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Least k in 1..n_steps with run_s(batch, k) >= elapsed_s; n_steps if there is none."""

    def describe(self) -> dict[str, Any]:
        """Name, parameters and provenance, for the manifest."""


class RankedStepTime(StepTime, Protocol):
    """Step times of data-parallel ranks that step together, because the experts of a mixture are spread over all.

    `step_s` and `run_s` are those of a rank whose fellows all have the same batch. `ranked` makes one of any model.
    """

    def own_line(self, batch: StepBatch, n_steps: int) -> Line | None:
        """Return what a rank's run takes without what all ranks do together.

        None if steps do not grow evenly; then `together_runs_s` is asked.
        """

    def shared_s(self, tokens: Sequence[int]) -> float:
        """Seconds of what ranks with so many tokens each do together in a step, beside the longest line."""

    def together_s(self, batches: Sequence[StepBatch]) -> float:
        """Seconds of one step of all ranks, of which those without work have `NO_WORK`."""

    def together_runs_s(self, batches: Sequence[StepBatch], n_steps: int) -> NDArray[np.float64]:
        """Seconds of each of n such steps, in which every rank's batch grows as in `grown`."""
