"""Fast mode: a plan is carried out for as many steps as it holds, and time jumps over them.

A plan holds until

* a decoding turn samples its last token, or a prefill's last chunk comes up;
* the free blocks would run out (so the step that preempts is always taken alone);
* the policy does something by itself: a pin expires, a gate's period passes, a key ages, a review is due;
* a turn arrives that may be tried in the next step, or that frees blocks: not while the token budget is spent, and not
  behind a head that waits already, unless the order or a gate may prefer it. While the policy thinks about contexts of
  paused programs (`reviews`), every arrival counts, and so does a step in which pins end or break or
  contexts are recalled;
* the policy's answers may change with time alone (not `steady`): then every step is taken alone.

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
"""How long before the clock's present a step must have ended for its boundary to have passed."""


class Jump:
    """A plan under way for one step or several, which what happens meanwhile may cut short."""

    def __init__(
        self, scheduler: Scheduler, step_time: StepTime, plan: Plan, start_s: float, *, stepwise: bool
    ) -> None:
        """Find out for how many steps the plan holds, and when they end."""
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
        """How many steps it has."""
        self._passed = 0
        """How many of them the scheduler has carried out already."""
        self.start_s, self.end_s = start_s, start_s + run_s
        self.open = steps > 1 and (not plan.spent or scheduler.governor.reviews)
        """Whether something that matters to the next step cuts it short."""

    def catch_up(self, clock_s: float) -> None:
        """Carry out the steps that are over at a reading of the clock, so that the state is that of this moment."""
        if self.steps == 1:
            return
        over = self._steps_begun(clock_s) - 1
        if over > self._passed:
            _pass_steps(self._scheduler, self.plan, over - self._passed)
            self._passed = over

    def cut(self, clock_s: float) -> bool:
        """Let it end with the step under way; tells whether that is sooner."""
        self.open = False
        steps = self._steps_begun(clock_s)
        if steps == self.steps:
            return False
        self.steps = steps
        self.end_s = self.start_s + self._step_time.run_s(self.plan.batch, steps)
        return True

    def ends_turn(self) -> bool:
        """Whether some turn has all its tokens when it ends."""
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
        """Steps that the scheduler has still to carry out."""
        return self.steps - self._passed

    def _steps_begun(self, clock_s: float) -> int:
        # None ends at the clock's present: a step that does is still under way.
        return self._step_time.steps_to_reach(self.plan.batch, self.steps, clock_s - _BEFORE_S - self.start_s)


def steps_held(scheduler: Scheduler, plan: Plan) -> int:
    """For how many steps, at least 1, the engine would repeat this plan if nothing arrives."""
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
    """Whether a waiting turn that was not admitted stays so until `next_event_s` or an event before."""
    policy = scheduler.governor.policy
    if policy.admission.gated and not policy.admission.steady:
        return False
    return policy.retention.steady or not scheduler.governor.has_pins


def _pass_steps(scheduler: Scheduler, plan: Plan, steps: int) -> None:
    """Carry out steps of a plan that goes on, and begin the next one: nothing ends with them."""
    scheduler.kv_cache_manager.grow(scheduler.batch.growth_blocks(plan, steps))
    scheduler.step += steps
    scheduler.pool.allocate(scheduler.batch.growth_blocks(plan, steps + 1) - scheduler.batch.growth_blocks(plan, steps))
    scheduler.decoding.advance(steps)
    if plan.chunks:
        request, chunk = plan.chunks[0]
        scheduler.batch.compute(request, chunk * steps)
        scheduler.kv_cache_manager.cache_shared(request, request.num_computed_tokens + chunk)
