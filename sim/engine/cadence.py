"""When prompts may be computed: vLLM's `prefill_schedule_interval`, which 0.33 applies on a single engine too.

Names follow `Scheduler.schedule` of `vllm/v1/core/sched/scheduler.py` (0.33).
"""

from __future__ import annotations

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.decoding import NEVER
from continuum_sim.engine.plan import Plan


class PrefillCadence:
    """Holds prompts back, so that decoding has uninterrupted steps, until some have passed since the last prompt.

    A step that may compute prompts and leaves turns waiting ends the holding: the engine is short of capacity.
    """

    def __init__(self, interval: int) -> None:
        """Hold no prompt in the first step.

        Parameters
        ----------
        interval
            Steps from one that computes a prompt to the next that may; 1 holds none.
        """
        self.active = interval > 1
        """Whether prompts are held at all, so that the number of waiting turns counts."""
        self._interval = interval
        self._capacity_bound = False
        self._last_prefill_step = -interval
        self._num_executed_steps = 0

    def holds(self, batch: Batch) -> bool:
        """Return whether the next step computes no prompt; the last token of one that is cached is not held."""
        return (
            not self._capacity_bound
            and self._num_executed_steps + 1 - self._last_prefill_step < self._interval
            and len(batch.running) > len(batch.prefilling)
        )

    def planned(self, plan: Plan, batch: Batch, *, waits: bool) -> None:
        """Count a step that was planned, and note whether turns still wait after it."""
        if not plan.held and not plan.preempted:
            self._capacity_bound = waits
        self._num_executed_steps += not plan.empty
        # A turn that found all but the last token of its prompt is no prefill.
        if plan.prefills or any(r.rank in batch.prefilling or r.uncached_tokens > 1 for r, _ in plan.chunks):
            self._last_prefill_step = self._num_executed_steps

    def repeated(self, plan: Plan, steps: int) -> None:
        """Count `steps` more steps like a planned one."""
        self._num_executed_steps += steps
        if plan.chunks:
            self._last_prefill_step = self._num_executed_steps

    def steps_alike(self, plan: Plan, batch: Batch) -> int:
        """Return how many more steps hold prompts back, or do not, as the latest plan does."""
        if self.holds(batch) != plan.held:
            return 0
        if not plan.held:
            return NEVER
        return self._interval - 1 - (self._num_executed_steps - self._last_prefill_step)
