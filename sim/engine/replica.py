"""One engine as a SimPy process: plan steps, let their time pass, hand back the turns that finished."""

from __future__ import annotations

import math
from collections.abc import Generator
from typing import Any, Protocol

import simpy
from simpy.events import EventPriority

from continuum_sim.engine.aborts import abort_requests, forget
from continuum_sim.engine.clock import Clock, step_rank
from continuum_sim.engine.counts import QueueCounts
from continuum_sim.engine.jump import Jump
from continuum_sim.engine.pipeline.oldest import OldestStep
from continuum_sim.engine.pipeline.rounds import Rounds
from continuum_sim.engine.pipeline.stages import Pipeline, stage_times
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.engine.token_gaps import EngineGaps
from continuum_sim.policies.host.governor import FORGET_AFTER_S
from continuum_sim.policies.views import ProgramView
from continuum_sim.steptime.model import StepTime

_MOST_IDLE_TICKS = 10_000
"""Ticks of a gate that may pass while it holds every turn and nothing else is pending; then it counts as stuck."""


class StepObserver(Protocol):
    """Watches the engine from outside (time series, parity checks)."""

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        """A turn has entered the waiting queue."""

    def on_abort(self, scheduler: Scheduler, request: Request, now_s: float) -> None:
        """A turn whose client has left was removed."""

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
    """One engine: a scheduler, a step-time model and the clock that joins them.

    With asynchronous scheduling a step is planned while the one before it runs, as vLLM's
    `EngineCore.step_with_batch_queue` does; with several stages as many as it keeps in its queue.

    All times it reports are the engine's own (`now_s`). At a step boundary SimPy's clock is `SAME_INSTANT_S` ahead of
    them, so that the next step sees an arrival at the same instant, whatever the rounding.
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
            Number of this engine, and how many engines share the clock.
        """
        self.number = number
        self._alone = replicas == 1
        # When steps of several engines end at one instant, those that end a turn come first: the program's next
        # turn may go to any engine, and must find it in the same state whether it is mid-jump or between steps.
        self._ends_first, self._ends_later = step_rank(number), step_rank(replicas + number)
        self.env = env
        self.scheduler = scheduler
        self.step_time = step_time
        self.stepwise = stepwise
        self.observer = observer
        self.gaps: EngineGaps | None = None
        """Counts the gaps between output tokens, if they are wanted."""
        self.counts: QueueCounts | None = None
        """Tells a coordinator of the queues, if there is one."""
        self.now_s = 0.0
        self.busy_s = 0.0
        """Seconds spent in steps that computed something."""
        stages = scheduler.config.pipeline_parallel_size
        self.pipeline = Pipeline(stage_times(step_time, stages)) if stages > 1 else None
        """The stages, if there are several."""
        self._wake: simpy.Event | None = None
        self._woken_s = 0.0
        self._jump: Jump | OldestStep | None = None
        """The jump under way, if any."""
        self._end: simpy.Event
        """Succeeds when that jump ends."""
        self._idle_ticks = 0
        """Times in a row that the engine slept with turns waiting and nothing pending but the policy's own events."""
        self.process = env.process(self._run())

    def accepts(self) -> bool:
        """Return whether the API server takes another request, as `AsyncLLM.check_admission` decides; else HTTP 503.

        It counts the whole prompt of every request without a token, and no request whose client has left.
        """
        scheduler, config = self.scheduler, self.scheduler.config
        if config.max_num_queued_reqs is not None:
            unfinished = scheduler.num_running + scheduler.num_waiting - len(scheduler.leaving)
            if unfinished + 1 > config.max_num_queued_reqs:
                return False
        if config.max_num_queued_tokens is None:
            return True
        self.catch_up()
        return scheduler.queued_tokens() < config.max_num_queued_tokens

    def submit(self, program_id: str, request: Request, now_s: float) -> None:
        """Queue a turn that arrives now; its `ended` event succeeds when it ends."""
        if self.scheduler.state_matters_to(request.context):
            self.catch_up()
        matters = self.scheduler.add(program_id, request, now_s)
        if self.observer is not None:
            self.observer.on_submit(program_id, request, now_s)
        self._notice(matters, now_s)
        if self.counts is not None:
            self._note_soon()

    def hand_over(self, program_id: str, to: int, now_s: float) -> ProgramView:
        """Remove and return a program in a tool call whose next turn goes to another replica."""
        if self.scheduler.state_matters_to(self.scheduler.contexts[program_id]):
            self.catch_up()
        program, matters = self.scheduler.hand_over(program_id, to, now_s)
        if matters and self.scheduler.has_work:
            self._notice(True, now_s)
        if self.counts is not None:
            self._note_soon()
        return program

    def abort(self, request: Request, now_s: float) -> None:
        """Let a turn's client hang up; its `ended` event succeeds once the engine has heard of it (`aborted`)."""
        self.scheduler.leaving[request] = None
        self._notice(False, now_s)
        jump = self._jump
        if jump is not None:
            jump.cut(self.env.now)
            self.env.bring_forward(self._end, jump.end_s, self._rank_of_end(jump))

    def miss(self, program_id: str) -> None:
        """Forget a program whose client has left without a word, after as long as the plug-in in vLLM does."""
        silence = self.env.after(self.env.now, FORGET_AFTER_S)
        assert silence.callbacks is not None
        silence.callbacks.append(lambda _: self._forget(program_id))

    def _forget(self, program_id: str) -> None:
        self.catch_up()
        forget(self.scheduler, program_id, self.env.now)
        if self.scheduler.has_work:
            self._notice(True, self.env.now)

    def catch_up(self) -> None:
        """Carry out the steps of the current jump that are over, so that the scheduler's state is up to date."""
        if self._jump is not None:
            self._jump.catch_up(self.env.now)

    def _notice(self, matters: bool, now_s: float) -> None:
        """Wake up, or end the jump with the step under way, if what just happened requires it."""
        if self._wake is not None and not self._wake.triggered:
            self._woken_s = now_s
            # The next step starts after everything else that happens at this instant.
            self.env.bring_forward(self._wake, now_s, self._ends_later)
            return
        jump = self._jump
        if matters and jump is not None and jump.open and jump.cut(self.env.now):
            self.env.bring_forward(self._end, jump.end_s, self._rank_of_end(jump))

    def _note_soon(self) -> None:
        """Note what the step under way will find at its end, unless the jump ends there as well."""
        jump = self._jump
        if isinstance(jump, Jump) and jump.steps > 1:
            self.catch_up()
            end_s = jump.end_of_step_s(self.env.now)
            if end_s < jump.end_s and self.counts is not None:
                self.counts.note(end_s)

    def _run(self) -> Generator[simpy.Event, Any, None]:
        scheduler = self.scheduler
        plans = scheduler.plans
        asked = False  # whether the policy has seen the engine's current state since it ran out of work
        while True:
            if not plans and not scheduler.has_work and (asked or not scheduler.governor.has_away):
                yield from self._sleep(self._wake_up_s())
            if self.counts is not None:
                self.counts.note(self.now_s)
            changed = self._plan_ahead()
            if not plans:
                if scheduler.leaving:
                    yield from self._hand_back(self._abort_requests())
                    asked = False
                    continue
                if not changed and scheduler.has_work:  # if it has changed, the next step starts at once
                    yield from self._sleep(self._next_try_s())
                asked = not changed
                continue
            asked = False
            self._idle_ticks = 0
            jump: Jump | OldestStep
            if self.pipeline is None:
                jump = Jump(scheduler, self.step_time, self.now_s, self._report, stepwise=self.stepwise)
            else:
                if not self.stepwise:
                    self._carry_out_rounds(self.pipeline)
                jump = OldestStep(scheduler, self.now_s, self._report)
            self._jump = jump
            self._end = self.env.boundary(jump.end_s, self._rank_of_end(jump))
            yield self._end
            self._jump = None
            self.now_s = end_s = jump.end_s
            self.busy_s += end_s - jump.start_s
            aborted: list[Request] = []
            if scheduler.leaving:
                jump.reach_last()
                aborted = self._abort_requests()
            finished = jump.finish()
            if self.counts is not None:
                self.counts.note(self.now_s)
            if finished or aborted:
                yield from self._hand_back(aborted + finished)

    def _abort_requests(self) -> list[Request]:
        """Remove the turns whose clients have left, as vLLM does before it processes the output of a step."""
        aborted = abort_requests(self.scheduler, self.now_s)
        if self.observer is not None:
            for request in aborted:
                self.observer.on_abort(self.scheduler, request, self.now_s)
        return aborted

    def _hand_back(self, ended: list[Request]) -> Generator[simpy.Event, Any, None]:
        """Tell the clients of turns that ended or were aborted."""
        followed = not self._alone
        for request in ended:
            assert request.ended is not None
            request.ended.succeed(self.now_s)
            followed = followed or request.followed_at_once
        if followed:  # the next step must see turns that follow at once
            yield self.env.boundary(self.now_s, self._ends_later)

    def _plan_ahead(self) -> bool:
        """Plan as many steps as may be under way at once; return True if the last plan is empty but changed the state.

        An empty plan takes a place among them, so while others are under way no further step is planned after it.
        """
        scheduler = self.scheduler
        while len(scheduler.plans) < scheduler.most_plans:
            if scheduler.plans and not scheduler.has_work:
                break
            plan = scheduler.schedule(self.now_s)
            if self.observer is not None:
                self.observer.on_plan(scheduler, plan, self.now_s)
            if plan.empty:
                scheduler.step += plan.changed
                if self.pipeline is not None and self._goes_on(plan):
                    continue
                return plan.changed
            if self.pipeline is not None:
                self._enter(self.pipeline, plan)
            scheduler.update_after_schedule(plan)
            if self.counts is not None and len(scheduler.plans) < scheduler.most_plans:
                self.counts.note(self.now_s)
        return False

    def _carry_out_rounds(self, pipeline: Pipeline) -> None:
        """Carry out the steps of batches that only take turns, up to the next event of the simulation."""
        rounds = Rounds(self.scheduler, pipeline, self._report, self.gaps)
        start_s = self.now_s
        self.now_s = rounds.carry_out(start_s, self.env.peek())
        self.busy_s += self.now_s - start_s

    def _goes_on(self, plan: Plan) -> bool:
        """Let an empty plan take a place in the queue until it is the oldest; return whether to plan on at once."""
        pipelined, plans = self.scheduler.pipelined, self.scheduler.plans
        assert pipelined is not None
        if plans:
            plans.append(plan)
            return True
        return not plan.changed and pipelined.any_passed_over

    def _enter(self, pipeline: Pipeline, plan: Plan) -> None:
        """Let a step that is planned now enter the stages."""
        pipelined, ready_s = self.scheduler.pipelined, self.now_s
        assert pipelined is not None
        if self.scheduler.config.async_scheduling:
            ready_s = max(ready_s, pipeline.tokens_ready_s(pipelined.calls))
        plan.end_s = pipeline.enter(plan.batch, ready_s)
        if pipelined.samples(plan):
            pipeline.samples(pipelined.calls, plan.end_s)

    def _report(self, plan: Plan, steps: int, start_s: float, end_s: float, finished: list[Request]) -> None:
        if self.observer is not None:
            self.observer.on_advance(self.scheduler, plan, steps, start_s, end_s, finished)
        if self.gaps is not None:
            self.gaps.steps(self.scheduler, plan, steps, start_s, end_s)

    def _rank_of_end(self, jump: Jump | OldestStep) -> EventPriority:
        """Return the rank of the jump's end among events at the same instant."""
        ends = jump.ends_turn() or self.scheduler.leaving
        return self._ends_first if ends and not self._alone else self._ends_later

    def _wake_up_s(self) -> float:
        """Return when to take a step although no turn is here: an upload arrives or the policy may recall a context."""
        recall_s = self.scheduler.governor.review_away_s
        upload_s = max(self.now_s, self.scheduler.connector.next_upload_s())
        return min(recall_s if recall_s > self.now_s else math.inf, upload_s)

    def _next_try_s(self) -> float:
        """Return when a waiting turn may be admitted although nothing arrives; infinite after too many idle ticks."""
        policy_s = self.scheduler.governor.next_event_after_s(self.now_s)
        reload_s = self.scheduler.connector.next_event_s()
        if reload_s < math.inf:
            return min(policy_s, reload_s)
        if self.env.only_ticks_left:
            self._idle_ticks += 1
        return policy_s if self._idle_ticks <= _MOST_IDLE_TICKS else math.inf

    def _sleep(self, until_s: float) -> Generator[simpy.Event, Any, None]:
        """Do nothing until a turn arrives or `until_s` is reached."""
        self._wake = self.env.event()
        if until_s < math.inf:
            yield self._wake | self.env.tick(until_s, self._ends_later)
        else:
            yield self._wake
        if self._wake.triggered:
            if not self._wake.processed:  # a turn arrives at this very instant
                yield self._wake
            self.now_s = max(self.now_s, self._woken_s)
        else:
            self.now_s = max(self.now_s, until_s)
        self._wake = None
