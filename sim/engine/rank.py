"""A data-parallel rank of a mixture of experts: an engine that steps only together with the others."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from typing import Any, Final

import simpy

from continuum_sim.engine.clock import Clock
from continuum_sim.engine.joint import JointSteps
from continuum_sim.engine.jump import Report, Stretch, begins_unlike, is_open, repetitions
from continuum_sim.engine.replica import Replica
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.policies.instants import SAME_INSTANT_S
from continuum_sim.steptime.batch import StepBatch, grown
from continuum_sim.steptime.model import Line, RankedStepTime, StepTime

HALF_INSTANT_S: Final = SAME_INSTANT_S / 2
"""Times that differ by less differ by rounding alone."""


class RankJump(Stretch):
    """A stretch of one rank's plan: so many of the joint steps from one on, whoever else plans anew meanwhile."""

    def __init__(self, scheduler: Scheduler, joint: JointSteps, start_s: float, report: Report, *, alone: bool) -> None:
        """Determine for how many steps the plan holds; for one if it is to be taken `alone`."""
        super().__init__(scheduler, start_s, report)
        self._joint = joint
        self.first = joint.number
        """Number of the first joint step."""
        # With drafts, contexts do not grow evenly.
        self.steps = steps = 1 if alone or scheduler.drafts is not None else 1 + repetitions(scheduler)
        self.event_s = scheduler.next_event_s() if steps > 1 else math.inf
        """When the policy acts although nothing happens."""
        if self.event_s <= start_s:
            self.steps, self.event_s = 1, math.inf
        self._unlike = self.steps > 1 and begins_unlike(scheduler)
        self._first_batch = scheduler.plans[0].batch
        self._batch = scheduler.plans[-1].batch if self._unlike else self._first_batch
        self._first_end_s = 0.0
        self._line: Line | None = None
        self._timed = False
        self.open = self.steps > 1 and is_open(scheduler)

    @property
    def unlike(self) -> bool:
        """Whether its first step is unlike those that follow."""
        return self._unlike

    def left(self) -> int:
        """Return how many of its next steps grow evenly."""
        passed = self._joint.number - self.first
        return self.steps - passed if passed or not self._unlike else 1

    def batch(self) -> StepBatch:
        """Return its part of the next joint step."""
        passed = self._joint.number - self.first
        return grown(self._batch, passed - self._unlike) if passed else self._first_batch

    def line(self, step_time: RankedStepTime) -> Line | None:
        """Return what its next steps take without what all ranks do together, if they grow evenly; else None."""
        passed = self._joint.number - self.first
        if self._unlike and not passed:
            return step_time.own_line(self._first_batch, 1)
        if not self._timed:
            self._line, self._timed = step_time.own_line(self._batch, self.steps - self._unlike), True
        if self._line is None:
            return None
        first_s, more_s = self._line
        return first_s + more_s * (passed - self._unlike), more_s

    def tokens(self) -> int:
        """Return the tokens of its next step."""
        batch = self._first_batch if self._joint.number == self.first else self._batch
        return batch.prefill_tokens + batch.decode_requests

    def time_first(self) -> None:
        """Remember when the first step ends, as soon as that is known."""
        if self._joint.number == self.first:
            self._first_end_s = self._joint.end_of(self.first)

    def cut(self, clock_s: float) -> bool:
        """End with the step under way; return True if that is sooner."""
        self.open = False
        steps = self._steps_begun(clock_s)
        if steps >= self.steps:
            return False
        self.steps = steps
        return True

    def _run_s(self, steps: int) -> float:
        if steps == 1 and self._unlike:
            return self._first_end_s - self.start_s
        return self._joint.end_of(self.first + steps - 1) - self.start_s

    def _steps_begun(self, clock_s: float) -> int:
        return min(self._joint.under_way(clock_s) + 1 - self.first, self.steps)


class LockstepRank(Replica):
    """One of the engines that `Lockstep` drives; without work it runs dummy steps."""

    def __init__(
        self,
        env: Clock,
        scheduler: Scheduler,
        step_time: StepTime,
        joint: JointSteps,
        *,
        stepwise: bool = False,
        number: int = 0,
        replicas: int = 1,
    ) -> None:
        """Start idle."""
        super().__init__(env, scheduler, step_time, stepwise=stepwise, number=number, replicas=replicas)
        self.joint = joint
        self.stretch: RankJump | None = None
        """What it computes in the joint steps, if it has begun to."""
        self.begins = -1
        """Number of the joint step in which it begins with what is planned; negative if nothing is."""
        self.asked_for = False
        """Whether something happened that it has to plan for, although it computes nothing."""
        self.retry_s = math.inf
        """When to plan although nothing happens, if it computes nothing."""
        self.when_cut: Callable[[], None] = _nothing
        """Called when the joint steps have to end sooner, or in another order."""
        self.when_woken: Callable[[float], None] = _nothing
        """Called with the time when something happened while it computes nothing."""
        self._asked = False
        self._alone_first = False
        self._idle_since = 0

    # What happens to it ---------------------------------------------------------------------------------

    def catch_up(self) -> None:
        """Carry out the joint steps that are over, so that the scheduler's state is up to date."""
        if self.stretch is not None:
            self.stretch.catch_up(self.env.now)

    def abort(self, request: Request, now_s: float) -> None:
        """Let a turn's client hang up."""
        self.scheduler.leaving[request] = None
        self._notice(False, now_s)
        if self.stretch is not None:
            self.stretch.cut(self.env.now)
            self.when_cut()

    def _notice(self, matters: bool, now_s: float) -> None:
        if self.stretch is not None:
            if matters and self.stretch.open and self.stretch.cut(self.env.now):
                self.when_cut()
        elif self.begins >= 0:
            self._alone_first = True
        else:
            self.asked_for = True
            self.when_woken(now_s)

    def _note_soon(self) -> None:
        stretch = self.stretch
        if stretch is None or stretch.steps == 1 or self.counts is None:
            return
        if not self.joint.steps:  # when the next step ends is not known yet
            stretch.cut(self.env.now)
            return
        self.catch_up()
        number = self.joint.under_way(self.env.now)
        if number + 1 < stretch.first + stretch.steps:
            self.counts.stamp = self.joint.stamp_after(number)
            self.counts.note(self.joint.end_of(number))

    # What its group asks of it --------------------------------------------------------------------------

    def is_due(self, now_s: float) -> bool:
        """Return whether it plans now: something happened, or the time has come."""
        return self.asked_for or self.retry_s - HALF_INSTANT_S <= now_s

    def plan(self, now_s: float) -> bool:
        """Plan, and begin at once or when the dummy steps under way are over; return True if turns were aborted."""
        scheduler = self.scheduler
        self.now_s = now_s
        self.asked_for, self.retry_s = False, math.inf
        behind = bool(scheduler.plans)
        while True:
            if not scheduler.plans and not scheduler.has_work and (self._asked or not scheduler.governor.has_away):
                self.retry_s = self._wake_up_s()
                return False
            if self.counts is not None:
                self.counts.stamp = self.joint.stamp_after(self.joint.number - 1)
                self.counts.note(now_s)
            changed = self._plan_ahead()
            if scheduler.plans:
                break
            if scheduler.leaving:
                self.tell_clients(self._abort_requests())
                self.asked_for, self._asked = True, False
                return True
            self._asked = not changed
            if not changed and scheduler.has_work:
                self.retry_s = self._next_try_s()
                return False
        self._asked = False
        self._idle_ticks = 0
        idle = self._idle_since < self.joint.number
        self.begins = self.joint.number + (0 if behind else self.joint.committed(idle))
        self._alone_first = False
        return False

    def begin(self) -> None:
        """Begin with what is planned if its step is the next."""
        if self.begins == self.joint.number:
            self.stretch = RankJump(
                self.scheduler,
                self.joint,
                self.joint.start_s,
                self._report,
                alone=self.stepwise or self._alone_first,
            )
            self.begins = -1

    def ends_turn(self) -> bool:
        """Return whether a turn ends, or a client's leaving is heard of, when its stretch is over."""
        assert self.stretch is not None
        return self.stretch.ends_turn() or bool(self.scheduler.leaving)

    def finish(self) -> list[Request]:
        """End its stretch, whose last step is the last of the joint steps; return the turns that ended."""
        stretch, scheduler = self.stretch, self.scheduler
        assert stretch is not None
        stop = stretch.first + stretch.steps
        self.now_s = stretch.end_s = self.joint.end_of(stop - 1)
        self.busy_s += self.now_s - stretch.start_s
        aborted: list[Request] = []
        if scheduler.leaving:
            stretch.reach_last()
            aborted = self._abort_requests()
        finished = stretch.finish()
        self.stretch, self.asked_for, self._idle_since = None, True, stop
        if self.counts is not None:
            self.counts.stamp = self.joint.stamp_after(stop - 1, before=False)
            self.counts.note(self.now_s)
        return aborted + finished

    def tell_clients(self, ended: list[Request]) -> None:
        """Tell the clients of turns that ended or were aborted."""
        for request in ended:
            assert request.ended is not None
            request.ended.succeed(self.now_s)

    def _run(self) -> Generator[simpy.Event, Any, None]:
        """Do nothing by itself."""
        yield from ()


def _nothing(*_: Any) -> None:
    """Until there is a group."""
