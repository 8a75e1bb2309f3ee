"""Step times with a drafter, which runs after the model in every step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.model import StepTime
from continuum_sim.steptime.ranked import ranked


class Drafted:
    """The step times of a model, and of the drafter that proposes the next step's drafts.

    The drafter's first pass computes the tokens of the step, and each of the others one row a turn (`propose` of
    vllm/v1/spec_decode/llm_base_proposer.py). In a batch, the rows of a turn's drafts count as decoding requests.

    Parameters
    ----------
    drafter
        Step times of the drafter; None if it takes no time on the GPU.
    drafts
        Drafts of a turn in each step.
    fixed_s
        Seconds that proposing adds to each step, in place of the drafter's passes.
    """

    def __init__(self, step_time: StepTime, drafter: StepTime | None, drafts: int, fixed_s: float = 0.0) -> None:
        self.step_time = step_time
        self.drafter = drafter
        self.drafts = drafts
        self.fixed_s = fixed_s

    def step_s(self, batch: StepBatch) -> float:
        """Seconds of one step."""
        return self.step_time.step_s(batch) + self._propose_s(batch, 1)

    def run_s(self, batch: StepBatch, n_steps: int) -> float:
        """Seconds of a run of n steps."""
        return self.step_time.run_s(batch, n_steps) + self._propose_s(batch, n_steps)

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Least k in 1..n_steps with run_s(batch, k) >= elapsed_s; n_steps if there is none."""
        low, high = 1, n_steps
        while low < high:
            middle = (low + high) // 2
            if self.run_s(batch, middle) >= elapsed_s:
                high = middle
            else:
                low = middle + 1
        return low

    def together_s(self, batches: Sequence[StepBatch]) -> float:
        """Seconds of one step of all ranks."""
        return float(self.together_runs_s(batches, 1)[0])

    def together_runs_s(self, batches: Sequence[StepBatch], n_steps: int) -> NDArray[np.float64]:
        """Seconds of each of n steps of all ranks, which also propose together."""
        seconds = ranked(self.step_time).together_runs_s(batches, n_steps)
        if self.drafter is None:
            return seconds + self.fixed_s
        drafter, later = ranked(self.drafter), [self._later(batch) for batch in batches]
        seconds = seconds + drafter.together_runs_s(batches, n_steps)
        return seconds + (self.drafts - 1) * drafter.together_runs_s(later, n_steps)

    def own_line(self, batch: StepBatch, n_steps: int) -> None:
        """Return None: a drafter's passes do not grow with the model's."""

    def shared_s(self, tokens: Sequence[int]) -> float:
        """Return the model's."""
        return ranked(self.step_time).shared_s(tokens)

    def describe(self) -> dict[str, Any]:
        """Describe the model, with its drafter."""
        told: dict[str, Any] = {"drafts": self.drafts, "fixed_s": self.fixed_s}
        if self.drafter is not None:
            told["model"] = self.drafter.describe()
        return {**self.step_time.describe(), "drafter": told}

    def _propose_s(self, batch: StepBatch, n_steps: int) -> float:
        if self.drafter is None:
            return self.fixed_s * n_steps
        later = self._later(batch)
        return self.drafter.run_s(batch, n_steps) + (self.drafts - 1) * self.drafter.run_s(later, n_steps)

    def _later(self, batch: StepBatch) -> StepBatch:
        """Return what the drafter's later passes compute."""
        turns = batch.prefill_requests + -(-batch.decode_requests // (self.drafts + 1))
        context = batch.prefill_context_tokens + batch.prefill_tokens + batch.decode_context_tokens
        return StepBatch(0, 0, 0, 0, turns, context)
