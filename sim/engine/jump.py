"""Fast mode: a plan is carried out in one jump for as many steps as it holds.

A plan holds until

* a decoding turn samples its last token, or a prefill reaches its last chunk;
* the free blocks would run out (a step that preempts is always taken alone);
* the policy acts although nothing else happens: a pin expires, a gate's period passes, a key ages, a review is due;
* a turn arrives that frees blocks or that may be tried in the next step (behind a waiting head only if the order or a
  gate may prefer it), unless the token budget is used up;
* while the policy reviews contexts of paused programs (`reviews`), any turn arrives; a step in which pins end or break
  or contexts are recalled is then taken alone;
* the policy may admit a waiting turn as time passes (it is not `steady`): then every step is taken alone.

With asynchronous scheduling two plans are under way, and a jump begins if the second one continues the first: then each
of its steps ends one and plans the next. Stepwise mode is a jump of one step, whatever the plan.
"""

from __future__ import annotations

import math
from typing import Final

from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.policies.instants import EDGE, SAME_INSTANT_S
from continuum_sim.steptime.batch import grown
from continuum_sim.steptime.model import StepTime

_BEFORE_S: Final = (2 - EDGE) * SAME_INSTANT_S
"""A step's boundary has passed if the step ended at least this long before the clock's current time."""


class Jump:
    """One or more steps, of which the first is the oldest one planned; events may cut it short."""

    def __init__(self, scheduler: Scheduler, step_time: StepTime, start_s: float, *, stepwise: bool) -> None:
        """Determine for how many steps the plan holds and when they end."""
        self.plan = plan = scheduler.plans[0]
        self._batch = batch = plan.batch
        steps = 1 if stepwise else 1 + repetitions(scheduler)
        event_s = scheduler.next_event_s() if steps > 1 else math.inf
        if event_s <= start_s:
            steps, event_s = 1, math.inf
        run_s = step_time.run_s(batch, steps)
        if start_s + run_s > event_s:
            steps = step_time.steps_to_reach(batch, steps, event_s - start_s)
            run_s = step_time.run_s(batch, steps)
        self._scheduler = scheduler
        self._step_time = step_time
        self.steps = steps
        """Number of steps in the jump."""
        self._passed = 0
        """Number of them that the scheduler has already carried out."""
        self.start_s, self.end_s = start_s, start_s + run_s
        self.open = steps > 1 and (not scheduler.plans[-1].spent or scheduler.governor.reviews)
        """Whether an event that may change the next step cuts the jump short."""

    def catch_up(self, clock_s: float) -> None:
        """Carry out the steps that are over at clock time `clock_s`, so that the scheduler's state is up to date."""
        if self.steps > 1:
            self._pass(self._steps_begun(clock_s) - 1)

    def cut(self, clock_s: float) -> bool:
        """End the jump with the step under way; return True if that is sooner."""
        self.open = False
        steps = self._steps_begun(clock_s)
        if steps == self.steps:
            return False
        self.steps = steps
        self.end_s = self.start_s + self._step_time.run_s(self._batch, steps)
        return True

    def ends_turn(self) -> bool:
        """Return whether some turn has all its tokens when the jump ends."""
        repeated = self.steps - 1 - self._passed
        if not repeated:
            return bool(self.plan.ended)
        plans, decoding = self._scheduler.plans, self._scheduler.decoding
        return len(plans) == 1 and bool(decoding.count) and decoding.steps_to_first_end() <= repeated

    def finish(self) -> list[Request]:
        """Carry out the rest; return the turns that ended."""
        self._pass(self.steps - 1)
        return self._scheduler.update_from_output(self.end_s)

    def _pass(self, over: int) -> None:
        if over > self._passed:
            self._scheduler.repeat(over - self._passed)
            self._passed = over

    def _steps_begun(self, clock_s: float) -> int:
        # A step that ends exactly at the clock's current time is still under way.
        return self._step_time.steps_to_reach(self._batch, self.steps, clock_s - _BEFORE_S - self.start_s)


def repetitions(scheduler: Scheduler) -> int:
    """Return how many more steps like the latest plan would follow it if nothing arrives."""
    plans = scheduler.plans
    plan, governor, decoding = plans[-1], scheduler.governor, scheduler.decoding
    if plan.admitted or plan.preempted or plan.ended or plan.sampling or (plan.changed and governor.reviews):
        return 0
    if scheduler.config.async_scheduling and not (len(plans) == 2 and _continues(plans[0], plan)):
        return 0
    if scheduler.waiting.queued and not plan.spent and not _refusal_stands(scheduler):
        return 0
    steps = decoding.steps_to_first_end() if decoding.count else 1 << 60
    chunk = 0
    if plan.chunks:
        request, chunk = plan.chunks[0]
        # The chunk that ends a prompt is a step of its own: the turn decodes from then on.
        steps = min(steps, (request.num_tokens - request.num_computed_tokens - 1) // chunk)
    if steps <= 0:
        return 0
    free, block_size = scheduler.pool.free, scheduler.block_size
    most = decoding.count * (steps // block_size + 1) + chunk * steps // block_size + 1
    if most <= free or scheduler.batch.growth_blocks(plan, steps) <= free:
        return steps
    low, high = 0, steps
    while high - low > 1:
        middle = (low + high) // 2
        if scheduler.batch.growth_blocks(plan, middle) <= free:
            low = middle
        else:
            high = middle
    return low


def _continues(plan: Plan, later: Plan) -> bool:
    """Return whether two plans under way are steps of one run, in the first of which no turn changes."""
    return not (plan.sampling or plan.ended or plan.skipped) and later.batch == grown(plan.batch, 1)


def _refusal_stands(scheduler: Scheduler) -> bool:
    """Return whether waiting turns that were not admitted stay refused until `next_event_s` or an earlier event."""
    policy = scheduler.governor.policy
    if policy.admission.gated and not policy.admission.steady:
        return False
    return policy.retention.steady or not scheduler.governor.has_pins
