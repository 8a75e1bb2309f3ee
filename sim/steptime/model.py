"""The step-time contract."""

from __future__ import annotations

from typing import Any, Protocol

from continuum_sim.steptime.batch import StepBatch


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
