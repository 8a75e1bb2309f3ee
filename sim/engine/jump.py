"""Fast mode: a plan is carried out in one jump for as many steps as it holds.

A plan holds until

* a decoding turn samples its last token, or a prefill reaches its last chunk (a step with the prompts of several turns
  is taken alone);
* the free blocks would run out (a step that preempts is always taken alone);
* the policy acts although nothing else happens: a pin expires, a gate's period passes, a key ages, a review is due;
* a turn arrives that frees blocks or that may be tried in the next step (behind a waiting head only if the order or a
  gate may prefer it), unless the token budget is used up; while a threshold cuts a prompt, any turn that arrives;
* while the policy reviews contexts of paused programs (`reviews`), any turn arrives; a step in which pins end or break
  or contexts are recalled is then taken alone;
* a client hangs up: the engine hears of it while the step under way, or the next one, runs;
* prompts begin or cease to be held back by `prefill_schedule_interval`, with which any turn that arrives counts;
* native offload begins to load blocks, or to store some while turns wait, or is about to free those of a turn that has
  ended;
* the policy may admit a waiting turn as time passes (it is not `steady`): then every step is taken alone.

With asynchronous scheduling two plans are under way. A jump then carries out the first, which may differ, and the
second for as many steps as it holds: each step that ends lets one more be planned. Stepwise mode is a jump of one
step, whatever the plan.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Final

from continuum_sim.engine.decoding import NEVER
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.policies.instants import EDGE, SAME_INSTANT_S
from continuum_sim.steptime.batch import grown
from continuum_sim.steptime.model import StepTime

BEFORE_S: Final = (2 - EDGE) * SAME_INSTANT_S
"""A step's boundary has passed if the step ended at least this long before the clock's current time."""


Report = Callable[[Plan, int, float, float, list[Request]], None]
"""Called with (plan, steps, start in s, end in s, turns that ended) for equal steps that have run."""


class Stretch:
    """Steps that are carried out at once: the oldest one planned, then more like the latest one; it may be cut short.

    A subclass says when they end.
    """

    def __init__(self, scheduler: Scheduler, start_s: float, report: Report) -> None:
        """Start with one step."""
        self._scheduler = scheduler
        self._report = report
        self._unlike = False
        """Whether the first step is unlike those that follow."""
        self.start_s = self.end_s = start_s
        self.steps = 1
        """Number of steps in the stretch."""
        self.open = False
        """Whether an event that may change the next step cuts it short."""
        self._passed = 0
        """Number of steps that the scheduler has already carried out."""
        self._reported, self._reported_s = 0, start_s
        """Number of steps that have been reported, and their end."""

    def catch_up(self, clock_s: float) -> None:
        """Carry out the steps that are over at clock time `clock_s`, so that the scheduler's state is up to date."""
        if self.steps > 1:
            self._pass(self._steps_begun(clock_s) - 1)

    def end_of_step_s(self, clock_s: float) -> float:
        """Return when the step under way at clock time `clock_s` ends."""
        return self.start_s + self._run_s(self._steps_begun(clock_s))

    def ends_turn(self) -> bool:
        """Return whether some turn has all its tokens when the stretch ends."""
        plans, left = self._scheduler.plans, self.steps - 1 - self._passed
        return left >= steps_to_end(self._scheduler) + len(plans) - 1 if left else bool(plans[0].ended)

    def reach_last(self) -> None:
        """Carry out and report all steps but the last, which is unlike them."""
        self._pass(self.steps - 1)
        if self.steps - 1 > self._reported:
            self._tell(self._scheduler.plans[0], self.steps - 1, self.start_s + self._run_s(self.steps - 1), [])

    def finish(self) -> list[Request]:
        """Carry out the rest; return the turns that ended."""
        self._pass(self.steps - 1)
        plan = self._scheduler.plans[0]
        ended = self._scheduler.update_from_output(self.end_s)
        self._tell(plan, self.steps, self.end_s, ended)
        return ended

    def _tell(self, plan: Plan, steps: int, end_s: float, ended: list[Request]) -> None:
        """Report the first `steps` steps, as far as they have not been."""
        self._report(plan, steps - self._reported, self._reported_s, end_s, ended)
        self._reported, self._reported_s = steps, end_s

    def _pass(self, over: int) -> None:
        if over <= self._passed:
            return
        connector = self._scheduler.connector
        if connector.stores_outputs:
            ahead = self._scheduler.most_plans > 1
            connector.repeat(self._scheduler.batch, over - self._passed, ahead=ahead, end_s=self._end_of_next_s)
        if not self._passed and self._unlike:
            first_end_s = self.start_s + self._run_s(1)
            self._tell(self._scheduler.pass_first(first_end_s), 1, first_end_s, [])
        self._scheduler.repeat(over - self._passed)
        self._passed = over

    def _end_of_next_s(self, steps: int) -> float:
        """Return when the n-th step ends of those that the scheduler has not carried out."""
        return self.start_s + self._run_s(self._passed + steps)

    def _run_s(self, steps: int) -> float:
        """Return the seconds of the first `steps` steps."""
        raise NotImplementedError

    def _steps_begun(self, clock_s: float) -> int:
        """Return how many steps have begun; one that ends exactly at the clock's current time is still under way."""
        raise NotImplementedError


class Jump(Stretch):
    """A stretch that lasts as long as a step-time model says."""

    def __init__(
        self, scheduler: Scheduler, step_time: StepTime, start_s: float, report: Report, *, stepwise: bool
    ) -> None:
        """Determine for how many steps the plan holds and when they end."""
        super().__init__(scheduler, start_s, report)
        first, latest = scheduler.plans[0], scheduler.plans[-1]
        self._step_time = step_time
        self._batch = first.batch
        self._first_s = 0.0
        """Seconds of the first step, if it is unlike those that follow."""
        self._ends_s: list[float] = []
        """When each step ends, counted from the start, if their contexts do not grow evenly."""
        steps = 1 if stepwise else 1 + repetitions(scheduler)
        if steps > 1 and scheduler.drafts is not None:
            self._ends_s = scheduler.drafts.ends_s(step_time, list(scheduler.plans), steps)
            self._first_s = 0.0 if first is latest else self._ends_s[0]
        elif steps > 1 and begins_unlike(scheduler):
            self._batch = latest.batch
            self._first_s = step_time.run_s(first.batch, 1)
        self._unlike = self._first_s != 0.0
        event_s = scheduler.next_event_s() if steps > 1 else math.inf
        if event_s <= start_s:
            steps, event_s = 1, math.inf
        self.steps = steps
        run_s = self._run_s(steps)
        if start_s + run_s > event_s:
            self.steps = self._steps_to_reach(event_s - start_s)
            run_s = self._run_s(self.steps)
        self.end_s = start_s + run_s
        self.open = self.steps > 1 and is_open(scheduler)

    def cut(self, clock_s: float) -> bool:
        """End the jump with the step under way; return True if that is sooner."""
        self.open = False
        steps = self._steps_begun(clock_s)
        if steps == self.steps:
            return False
        self.steps = steps
        self.end_s = self.start_s + self._run_s(steps)
        return True

    def _run_s(self, steps: int) -> float:
        if self._ends_s:
            return self._ends_s[steps - 1]
        if not self._first_s:
            return self._step_time.run_s(self._batch, steps)
        return self._first_s + self._step_time.run_s(self._batch, steps - 1) if steps > 1 else self._first_s

    def _steps_to_reach(self, elapsed_s: float) -> int:
        """Return the least number of steps that take so long; all if even these do not."""
        if self._ends_s:
            return min(bisect_left(self._ends_s, elapsed_s) + 1, self.steps)
        if not self._first_s:
            return self._step_time.steps_to_reach(self._batch, self.steps, elapsed_s)
        if self.steps == 1 or elapsed_s <= self._first_s:
            return 1
        return 1 + self._step_time.steps_to_reach(self._batch, self.steps - 1, elapsed_s - self._first_s)

    def _steps_begun(self, clock_s: float) -> int:
        return self._steps_to_reach(clock_s - BEFORE_S - self.start_s)


def begins_unlike(scheduler: Scheduler) -> bool:
    """Return whether the oldest of the planned steps is unlike those that would follow the latest."""
    first, latest = scheduler.plans[0], scheduler.plans[-1]
    return first is not latest and (bool(first.sampling) or latest.batch != grown(first.batch, 1))


def is_open(scheduler: Scheduler) -> bool:
    """Return whether an event may change what the steps after the latest plan do."""
    return not scheduler.plans[-1].spent or scheduler.governor.reviews or scheduler.counts_turns


def repetitions(scheduler: Scheduler) -> int:
    """Return how many more steps like the latest plan would follow it if nothing arrives."""
    plans, governor, decoding = scheduler.plans, scheduler.governor, scheduler.decoding
    plan = plans[-1]
    if scheduler.kv_cache_manager.grouped and (scheduler.drafts is not None or not _windows_only_slide(scheduler)):
        return 0
    if plan.admitted or plan.preempted or plan.sampling or (plan.changed and governor.reviews):
        return 0
    if plan.skipped or plan.follows_skip or plans[0].follows_skip or len(plan.chunks) > 1:
        return 0
    if plan.hung_up or plans[0].hung_up or scheduler.leaving:
        return 0
    connector = scheduler.connector
    asked = bool(scheduler.waiting.queued) and not plan.spent
    if connector.native and (
        connector.loads_later or scheduler.ends.deferred or (scheduler.batch.prefilling and not plan.held)
    ):
        return 0
    if connector.begins_later and (asked or not connector.stores_outputs):
        return 0
    ahead = scheduler.most_plans > 1
    if ahead and (len(plans) < scheduler.most_plans or plans[0].ended or plans[0].skipped):
        return 0
    steps = steps_to_end(scheduler)
    if ahead and scheduler.drafts is None:
        # An end that is not foreseen changes nothing until the step after it has been planned as well.
        foreseen = decoding.limited or not all(request.stops for request in plan.ended)
        steps += not foreseen
    if scheduler.waiting.queued and not plan.spent and not _refusal_stands(scheduler):
        return 0
    if scheduler.cadence.active and (scheduler.batch.prefilling or scheduler.waiting.queued or scheduler.reloads.ready):
        steps = min(steps, scheduler.cadence.steps_alike(plan, scheduler.batch))
    chunk = 0
    if plan.chunks:
        request, chunk = plan.chunks[0]
        # The chunk that ends a prompt is a step of its own: the turn decodes from then on.
        steps = min(steps, (request.num_tokens - request.num_computed_tokens - 1) // chunk)
    steps = min(steps, decoding.steps_to_hang_up())
    if connector.stores_outputs and asked:  # host memory decides whom a step may admit
        steps = min(steps, decoding.steps_to_fill(int(not ahead)) - 1)
    if steps <= 0:
        return 0
    free, block_size = scheduler.pool.free, scheduler.block_size
    if scheduler.connector.native and scheduler.waiting.queued and not plan.spent:
        free = scheduler.pool.blank  # where a waiting turn's cached blocks are evicted, it may load, and need fewer
    if scheduler.drafts is not None:
        if scheduler.connector.stores_outputs or scheduler.connector.busy:
            return 0
        return scheduler.drafts.look_ahead(plan, steps, ahead=ahead, free_blocks=free)
    most = decoding.count * (steps // block_size + 1) + chunk * steps // block_size + 1
    manager, batch = scheduler.kv_cache_manager, scheduler.batch
    if (most <= free and not manager.grouped) or manager.blocks_of_steps(batch, plan, steps) <= free:
        return steps
    low, high = 0, steps
    while high - low > 1:
        middle = (low + high) // 2
        if manager.blocks_of_steps(batch, plan, middle) <= free:
            low = middle
        else:
            high = middle
    return low


def steps_to_end(scheduler: Scheduler) -> int:
    """Return after how many more steps like the latest plan one gives some turn its last token."""
    if scheduler.plans[-1].ended:
        return 0
    return scheduler.decoding.steps_to_first_end() if scheduler.decoding.count else NEVER


def _windows_only_slide(scheduler: Scheduler) -> bool:
    """Return whether every window moves by a token a step, and what it frees lets no waiting turn in."""
    plan, manager, governor = scheduler.plans[-1], scheduler.kv_cache_manager, scheduler.governor
    settled = manager.due is not None and manager.due.settled
    if plan.chunks or scheduler.plans[0].chunks or not settled or governor.reviews:
        return False
    connector = scheduler.connector
    if connector.native and (connector.stores_outputs or connector.busy or scheduler.waiting.queued):
        return False  # what slides may be stored, or let in a turn that needs less as it loads
    if not scheduler.waiting.queued:
        return True
    if plan.held or not scheduler.config.scheduler_reserve_full_isl:
        return False  # what is held back may fit meanwhile; and a first chunk is smaller if hits are evicted
    return not plan.lacks or plan.lacks > scheduler.pool.free + scheduler.decoding.count * manager.most_freed_by_sliding


def _refusal_stands(scheduler: Scheduler) -> bool:
    """Return whether waiting turns that were not admitted stay refused until `next_event_s` or an earlier event."""
    policy = scheduler.governor.policy
    if policy.admission.gated and not policy.admission.steady:
        return False
    return policy.retention.steady or not scheduler.governor.has_pins
