"""A share of what was measured: the step times of a stage, if only the whole model's are known."""

from __future__ import annotations

from typing import Any

from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.model import StepTime


class Scaled:
    """A share of another model's step times: those of a stage, if only the whole model was measured."""

    def __init__(self, step_time: StepTime, share: float) -> None:
        self._step_time = step_time
        self._share = share

    def step_s(self, batch: StepBatch) -> float:
        """Seconds of one step."""
        return self._step_time.step_s(batch) * self._share

    def run_s(self, batch: StepBatch, n_steps: int) -> float:
        """Seconds of a run of n steps."""
        return self._step_time.run_s(batch, n_steps) * self._share

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Least k in 1..n_steps with run_s(batch, k) >= elapsed_s; n_steps if there is none."""
        found = self._step_time.steps_to_reach(batch, n_steps, elapsed_s / self._share)
        while found > 1 and self.run_s(batch, found - 1) >= elapsed_s:
            found -= 1
        while found < n_steps and self.run_s(batch, found) < elapsed_s:
            found += 1
        return found

    def describe(self) -> dict[str, Any]:
        """Name, share and the whole model's description, for the manifest."""
        return {"model": "share", "share": self._share, "of": self._step_time.describe()}
