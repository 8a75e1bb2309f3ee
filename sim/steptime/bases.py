"""Base classes for step-time models without a closed form, which time single steps or arrays of steps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continuum_sim.steptime.batch import StepBatch, grown


class SingleStepTime(ABC):
    """Base of models that time one step at a time; a run costs one call per step."""

    @abstractmethod
    def step_s(self, batch: StepBatch) -> float:
        """Seconds of one step."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Name, parameters and provenance, for the manifest."""

    def run_s(self, batch: StepBatch, n_steps: int) -> float:
        """Seconds of a run of n steps, summed in order."""
        total = 0.0
        for step_s in self._steps(batch, n_steps):
            total += step_s
        return total

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Least k in 1..n_steps with run_s(batch, k) >= elapsed_s; n_steps if there is none."""
        total = 0.0
        for steps, step_s in enumerate(self._steps(batch, n_steps), start=1):
            total += step_s
            if total >= elapsed_s:
                return steps
        return n_steps

    def _steps(self, batch: StepBatch, n_steps: int) -> Iterator[float]:
        return (self.step_s(grown(batch, j)) for j in range(n_steps))


class VectorStepTime(ABC):
    """Base of models that compute a whole run with array operations."""

    @abstractmethod
    def steps_s(self, batch: StepBatch, n_steps: int) -> NDArray[np.float64]:
        """Seconds of each of the n steps of a run; a step's value must not depend on n."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Name, parameters and provenance, for the manifest."""

    def step_s(self, batch: StepBatch) -> float:
        """Seconds of one step."""
        return float(self.steps_s(batch, 1)[0])

    def run_s(self, batch: StepBatch, n_steps: int) -> float:
        """Seconds of a run of n steps."""
        return float(self._ends_s(batch, n_steps)[-1]) if n_steps else 0.0

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Least k in 1..n_steps with run_s(batch, k) >= elapsed_s; n_steps if there is none."""
        return min(bisect_left(self._ends_s(batch, n_steps), elapsed_s) + 1, n_steps)

    def _ends_s(self, batch: StepBatch, n_steps: int) -> NDArray[np.float64]:
        # A running sum, so that its first k values are equal for every run of at least k steps.
        return np.cumsum(self.steps_s(batch, n_steps))
