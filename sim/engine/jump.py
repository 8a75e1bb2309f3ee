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

Stepwise mode is a jump of one step, whatever the plan.
"""

from __future__ import annotations

import math
from typing import Final

from continuum_sim.engine.plan import Plan
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.policies.instants import EDGE, SAME_INSTANT_S
from continuum_sim.steptime.model import StepTime

_BEFORE_S: Final = (2 - EDGE) * SAME_INSTANT_S
"""A step's boundary has passed if the step ended at least this long before the clock's current time."""


class Jump:
    """A plan that is being carried out for one or more steps; events may cut it short."""

    def __init__(
        self, scheduler: Scheduler, step_time: StepTime, plan: Plan, start_s: float, *, stepwise: bool
    ) -> None:
        """Determine for how many steps the plan holds and when they end."""
        steps = 1 if stepwise else steps_held(scheduler, plan)
        event_s = scheduler.next_event_s() if steps > 1 else math.inf
        if event_s <= start_s:
            steps, event_s = 1, math.inf
        run_s = step_time.run_s(plan.batch, steps)
        if start_s + run_s > event_s:
            steps = step_time.steps_to_reach(plan.batch, steps, event_s - start_s)
            run_s = step_time.run_s(plan.batch, steps)
        self._scheduler = scheduler
        self._step_time = step_time
        self.plan = plan
        self.steps = steps
        """Number of steps in the jump."""
        self._passed = 0
        """Number of them that the scheduler has already carried out."""
        self.start_s, self.end_s = start_s, start_s + run_s
        self.open = steps > 1 and (not plan.spent or scheduler.governor.reviews)
        """Whether an event that may change the next step cuts the jump short."""

    def catch_up(self, clock_s: float) -> None:
        """Carry out the steps that are over at clock time `clock_s`, so that the scheduler's state is up to date."""
        if self.steps == 1:
            return
        over = self._steps_begun(clock_s) - 1
        if over > self._passed:
            _pass_steps(self._scheduler, self.plan, over - self._passed)
            self._passed = over

    def cut(self, clock_s: float) -> bool:
        """End the jump with the step under way; return True if that is sooner."""
        self.open = False
        steps = self._steps_begun(clock_s)
        if steps == self.steps:
            return False
        self.steps = steps
        self.end_s = self.start_s + self._step_time.run_s(self.plan.batch, steps)
        return True

    def ends_turn(self) -> bool:
        """Return whether some turn has all its tokens when the jump ends."""
        decoding, left = self._scheduler.decoding, self.steps_left
        if decoding.count and decoding.steps_to_first_end() <= left:
            return True
        return any(
            request.num_computed_tokens + tokens * left >= request.num_tokens
            and request.num_output_tokens + 1 == request.max_tokens
            for request, tokens in self.plan.chunks
        )

    @property
    def steps_left(self) -> int:
        """Steps that the scheduler has yet to carry out."""
        return self.steps - self._passed

    def _steps_begun(self, clock_s: float) -> int:
        # A step that ends exactly at the clock's current time is still under way.
        return self._step_time.steps_to_reach(self.plan.batch, self.steps, clock_s - _BEFORE_S - self.start_s)


def steps_held(scheduler: Scheduler, plan: Plan) -> int:
    """Return for how many steps, at least 1, the engine would repeat this plan if nothing arrives."""
    governor, decoding = scheduler.governor, scheduler.decoding
    if plan.admitted or plan.preempted or plan.empty or (plan.changed and governor.reviews):
        return 1
    if scheduler.waiting.queued and not plan.spent and not _refusal_stands(scheduler):
        return 1
    steps = decoding.steps_to_first_end() if decoding.count else 1 << 60
    chunk = 0
    if plan.chunks:
        request, chunk = plan.chunks[0]
        # The chunk that ends a prompt is a step of its own: the turn decodes from then on.
        steps = min(steps, (request.num_tokens - request.num_computed_tokens - 1) // chunk)
    if steps <= 1:
        return 1
    free, block_size = scheduler.pool.free, scheduler.block_size
    most = decoding.count * (steps // block_size + 1) + chunk * steps // block_size + 1
    if most <= free or scheduler.batch.growth_blocks(plan, steps) <= free:
        return steps
    low, high = 1, steps
    while high - low > 1:
        middle = (low + high) // 2
        if scheduler.batch.growth_blocks(plan, middle) <= free:
            low = middle
        else:
            high = middle
    return low


def _refusal_stands(scheduler: Scheduler) -> bool:
    """Return whether waiting turns that were not admitted stay refused until `next_event_s` or an earlier event."""
    policy = scheduler.governor.policy
    if policy.admission.gated and not policy.admission.steady:
        return False
    return policy.retention.steady or not scheduler.governor.has_pins


def _pass_steps(scheduler: Scheduler, plan: Plan, steps: int) -> None:
    """Carry out `steps` steps of a plan that continues, and begin the next one; no turn ends in them."""
    scheduler.kv_cache_manager.grow(scheduler.batch.growth_blocks(plan, steps))
    scheduler.step += steps
    scheduler.pool.allocate(scheduler.batch.growth_blocks(plan, steps + 1) - scheduler.batch.growth_blocks(plan, steps))
    scheduler.decoding.advance(steps)
    if plan.chunks:
        request, chunk = plan.chunks[0]
        scheduler.batch.compute(request, chunk * steps)
        scheduler.kv_cache_manager.cache_shared(request, request.num_computed_tokens + chunk)
