"""One engine as a SimPy process: schedule, let the time of the steps pass, hand finished turns back."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any, Protocol

import simpy
from simpy.events import EventPriority

from continuum_sim.engine.clock import Clock, step_rank
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Plan, Scheduler
from continuum_sim.engine.token_gaps import EngineGaps
from continuum_sim.policies.instants import EDGE, SAME_INSTANT_S
from continuum_sim.policies.views import ProgramView
from continuum_sim.steptime.model import StepTime

_BEFORE_S = (2 - EDGE) * SAME_INSTANT_S
"""How long before the clock's present a step must have ended for its boundary to have passed."""

_MOST_IDLE_TICKS = 10_000
"""Ticks of a gate that may pass with every turn held back and nothing else to come, before that counts as for good."""


class StepObserver(Protocol):
    """Watches the engine from outside (time series, parity checks)."""

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        """A turn has entered the waiting queue."""

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        """A step has been planned and is about to run."""

    def on_advance(
        self,
        scheduler: Scheduler,
        plan: Plan,
        steps: int,
        start_s: float,
        end_s: float,
        finished: list[Request],
    ) -> None:
        """The planned steps have run."""


class Replica:
    """A scheduler, a step-time model and the clock that joins them.

    Times handed out are the engine's own (`now_s`). SimPy's clock runs `SAME_INSTANT_S` ahead of them at a step
    boundary, so that an arrival at the very same instant, give or take rounding, is seen by the step.
    """

    def __init__(
        self,
        env: Clock,
        scheduler: Scheduler,
        step_time: StepTime,
        *,
        stepwise: bool = False,
        observer: StepObserver | None = None,
        number: int = 0,
        replicas: int = 1,
    ) -> None:
        """Start idle.

        Parameters
        ----------
        number, replicas
            Which engine of how many on the same clock this is.
        """
        self.number = number
        self._alone = replicas == 1
        # Where steps of several engines end at one instant, those that end a turn come first: its successor may
        # be sent to any of them, and must find the same state whether that engine is in a jump or at a step.
        self._ends_first, self._ends_later = step_rank(number), step_rank(replicas + number)
        self.env = env
        self.scheduler = scheduler
        self.step_time = step_time
        self.stepwise = stepwise
        self.observer = observer
        self.gaps: EngineGaps | None = None
        """Counts the gaps between output tokens, where somebody wants them."""
        self.now_s = 0.0
        self.busy_s = 0.0
        """Seconds spent in steps that computed something."""
        self._wake: simpy.Event | None = None
        self._woken_s = 0.0
        self._jumping = False
        """Whether a run of several steps is under way that an arrival may cut short."""
        self._plan: Plan | None = None
        """Plan of the run of several steps under way."""
        self._steps = 0
        """How many steps that run has."""
        self._passed = 0
        """How many of them the scheduler has carried out already."""
        self._start_s = self._end_s = 0.0
        """When that run started, and when it ends."""
        self._end: simpy.Event
        """What happens then."""
        self._hopeless = 0
        """Times in a row that the engine slept with turns waiting and nothing to come but the policy's own events."""
        self.process = env.process(self._run())

    def submit(self, program_id: str, request: Request, now_s: float) -> None:
        """Take in a turn that arrives now; its `ended` is the event of its end."""
        if self.scheduler.state_matters_to(request):
            self.catch_up()
        matters = self.scheduler.add(program_id, request, now_s)
        if self.observer is not None:
            self.observer.on_submit(program_id, request, now_s)
        self._notice(matters, now_s)

    def hand_over(self, program_id: str, to: int, now_s: float) -> ProgramView:
        """Let a program in a tool call go to another replica, which its next turn was sent to."""
        if self.scheduler.state_matters_to_leaving(program_id):
            self.catch_up()
        program, matters = self.scheduler.hand_over(program_id, to, now_s)
        if matters and self.scheduler.has_work:
            self._notice(True, now_s)
        return program

    def catch_up(self) -> None:
        """Carry out those steps of the run under way that are over, so that the state is that of this moment."""
        plan = self._plan
        if plan is None:
            return
        over = self.step_time.steps_to_reach(plan.batch, self._steps, self._passed_s()) - 1
        if over > self._passed:
            self.scheduler.pass_steps(plan, over - self._passed)
            self._passed = over

    def _passed_s(self) -> float:
        """Seconds since the run under way began, for telling which of its steps are over: none ends just then."""
        return self.env.now - _BEFORE_S - self._start_s

    def _notice(self, matters: bool, now_s: float) -> None:
        """Wake up, or end a jump with the step under way, if what just happened calls for it."""
        if self._wake is not None and not self._wake.triggered:
            self._woken_s = now_s
            # With the step that follows, after all else that happens at this instant.
            self.env.bring_forward(self._wake, now_s, self._ends_later)
        elif matters and self._jumping:
            self._end_jump()

    def _end_jump(self) -> None:
        """Let the run of steps under way end with the step that is under way."""
        self._jumping = False
        plan = self._plan
        assert plan is not None
        steps = self.step_time.steps_to_reach(plan.batch, self._steps, self._passed_s())
        if steps < self._steps:
            self._steps = steps
            self._end_s = self._start_s + self.step_time.run_s(plan.batch, steps)
            self.env.bring_forward(self._end, self._end_s, self._rank_of_end(plan))

    def _run(self) -> Generator[simpy.Event, Any, None]:
        scheduler, observer, gaps = self.scheduler, self.observer, self.gaps
        asked = False  # whether the policy saw the engine as it is since it ran out of work
        while True:
            if not scheduler.has_work and (asked or not scheduler.governor.recalls):
                yield from self._sleep(self._wake_up_s())
            plan = scheduler.schedule(self.now_s)
            if observer is not None:
                observer.on_plan(scheduler, plan, self.now_s)
            if plan.empty:
                if plan.changed:
                    scheduler.step += 1  # the next step follows at once
                elif scheduler.has_work:
                    yield from self._sleep(self._next_hope_s())
                asked = not plan.changed
                continue
            asked = False
            self._hopeless = 0
            start_s = self.now_s
            self._begin_run(plan)
            yield self._end
            steps, end_s = self._steps, self._end_s  # an arrival may have cut the run short
            self._jumping = False
            self._plan = None
            self.now_s = end_s
            self.busy_s += end_s - start_s
            finished = scheduler.advance(plan, steps - self._passed, end_s)
            if observer is not None:
                observer.on_advance(scheduler, plan, steps, start_s, end_s, finished)
            if gaps is not None:
                gaps.steps(scheduler, plan, steps, start_s, end_s)
            if finished:
                followed = not self._alone
                for request in finished:
                    assert request.ended is not None
                    request.ended.succeed(end_s)
                    followed = followed or request.followed_at_once
                if followed:  # a turn that follows at once is seen by the next step
                    yield self.env.boundary(end_s, self._ends_later)

    def _rank_of_end(self, plan: Plan) -> EventPriority:
        """Place of the end of the run under way, of which some steps may have been carried out."""
        if self._alone or not self.scheduler.ends_turn(plan, self._steps - self._passed):
            return self._ends_later
        return self._ends_first

    def _begin_run(self, plan: Plan) -> None:
        """Find out for how many steps the plan stays as it is, and when they end."""
        steps = 1 if self.stepwise else self.scheduler.hold(plan)
        event_s = self.scheduler.next_event_s() if steps > 1 else math.inf
        if event_s <= self.now_s:
            steps, event_s = 1, math.inf
        run_s = self.step_time.run_s(plan.batch, steps)
        if self.now_s + run_s > event_s:
            steps = self.step_time.steps_to_reach(plan.batch, steps, event_s - self.now_s)
            run_s = self.step_time.run_s(plan.batch, steps)
        self._start_s, self._end_s = self.now_s, self.now_s + run_s
        self._steps, self._passed = steps, 0
        self._plan = plan if steps > 1 else None
        self._jumping = steps > 1 and (not plan.spent or self.scheduler.governor.reviews)
        self._end = self.env.boundary(self._end_s, self._rank_of_end(plan))

    def _wake_up_s(self) -> float:
        """When to take a step although no turn is here: a recalled context arrives, or the policy may recall one."""
        recall_s = self.scheduler.governor.recall_s
        upload_s = max(self.now_s, self.scheduler.connector.next_upload_s())
        return min(recall_s if recall_s > self.now_s else math.inf, upload_s)

    def _next_hope_s(self) -> float:
        """When a waiting turn may be let in of itself; infinite once the policy has had its chances."""
        policy_s = self.scheduler.governor.next_event_after_s(self.now_s)
        reload_s = self.scheduler.connector.next_event_s()
        if reload_s < math.inf:
            return min(policy_s, reload_s)
        if self.env.only_ticks_left:
            self._hopeless += 1
        return policy_s if self._hopeless <= _MOST_IDLE_TICKS else math.inf

    def _sleep(self, until_s: float) -> Generator[simpy.Event, Any, None]:
        """Do nothing until a turn arrives or the policy has something to do."""
        self._wake = self.env.event()
        if until_s < math.inf:
            yield self._wake | self.env.tick(until_s, self._ends_later)
        else:
            yield self._wake
        if self._wake.triggered:
            if not self._wake.processed:  # a turn came at the instant of the policy's event
                yield self._wake
            self.now_s = max(self.now_s, self._woken_s)
        else:
            self.now_s = max(self.now_s, until_s)
        self._wake = None
