"""Data-parallel ranks of a mixture of experts step together, as `DPEngineCoreProc.run_busy_loop` of vLLM has them.

Experts are spread over the ranks, so no rank's step can end before the others have begun theirs. A rank without work
runs a dummy step meanwhile. When none has work, all run dummy steps until they find that out; then they pause until a
turn arrives (vllm/v1/engine/core.py, 0.32 and 0.33).

A rank plans anew only when its own plan is used up or cut short: the others' plans hold on, and their state is brought
up to date when something asks for it. So a turn costs about as much as it does on one engine.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Generator, Sequence
from typing import Any

import simpy
from simpy.events import EventPriority

from continuum_sim.engine.clock import Clock, instant_number, step_rank
from continuum_sim.engine.joint import JointSteps
from continuum_sim.engine.rank import HALF_INSTANT_S, LockstepRank, RankJump
from continuum_sim.steptime.model import RankedStepTime
from continuum_sim.steptime.ranked import DUMMY, NO_WORK
from continuum_sim.steptime.slowest import joint_ends_s, line_ends_s


class Lockstep:
    """The ranks of one deployment as a SimPy process."""

    def __init__(
        self,
        env: Clock,
        ranks: Sequence[LockstepRank],
        joint: JointSteps,
        step_time: RankedStepTime,
        *,
        stepwise: bool = False,
        replicas: int = 1,
    ) -> None:
        """Start paused.

        Parameters
        ----------
        replicas
            Number of engines that share the clock, with those of other deployments.
        """
        self._env = env
        self._ranks = list(ranks)
        self._joint = joint
        self._step_time = step_time
        self._stepwise = stepwise
        dummy = step_time.own_line(DUMMY, 2)
        self._idle = None if dummy is None else (dummy[0], 0.0)  # a dummy step has no context that grows
        number = ranks[0].number
        self._ends_first, self._ends_later = step_rank(number), step_rank(replicas + number)
        self._stores = any(rank.scheduler.connector.stores_outputs for rank in ranks)
        self._wake: simpy.Event | None = None
        self._woken_s = 0.0
        self._end: simpy.Event | None = None
        """Succeeds when the joint steps under way are over."""
        self.when_paused: Callable[[int], None] = _nothing
        """Called with the instant at which the ranks pause; a coordinator hears of it."""
        for rank in ranks:
            rank.when_cut, rank.when_woken = self._cut, self._woken
        self.process = env.process(self._run())

    # What ranks tell ------------------------------------------------------------------------------------

    def _cut(self) -> None:
        """End the joint steps where a rank's stretch now ends, and in the order that follows."""
        if self._end is None:
            return
        joint = self._joint
        stretches = [rank.stretch for rank in self._ranks if rank.stretch is not None]
        joint.cut(min([stretch.first + stretch.steps for stretch in stretches]) - 1)
        self._env.bring_forward(self._end, joint.end_s, self._rank_of_end())

    def _woken(self, now_s: float) -> None:
        """Let a rank without work plan after the step under way, or now if all are at rest."""
        if self._wake is not None:
            if not self._wake.triggered:
                self._woken_s = now_s
                self._env.bring_forward(self._wake, now_s, self._ends_later)
        elif self._end is not None and self._joint.cut(self._joint.under_way(self._env.now)):
            self._env.bring_forward(self._end, self._joint.end_s, self._rank_of_end())

    # The process ----------------------------------------------------------------------------------------

    def _run(self) -> Generator[simpy.Event, Any, None]:
        joint, ranks, env = self._joint, self._ranks, self._env
        while True:
            while self._plan():
                yield env.boundary(joint.start_s, self._ends_later)
            if not self._begin():
                yield from self._rest()
                continue
            assert self._end is not None
            yield self._end
            self._end = None
            over = self._over()
            while ending := [rank for rank in over if rank.ends_turn()]:
                for rank in ending:
                    rank.tell_clients(rank.finish())
                yield env.boundary(joint.end_s, self._ends_later)  # turns that follow at once find others as they were
                over = self._over()
            for rank in over:
                rank.finish()
            if self._stores:
                for rank in ranks:
                    rank.catch_up()  # while it is known when the steps ended
            joint.over()

    def _plan(self) -> bool:
        """Let every rank plan that has to; return True if turns were aborted, so that others may follow at once."""
        now_s = self._joint.start_s
        aborted = False
        for rank in self._ranks:
            if rank.stretch is None and rank.begins < 0 and rank.is_due(now_s):
                aborted = rank.plan(now_s) or aborted
        return aborted

    def _begin(self) -> bool:
        """Begin as many joint steps as no rank's plan ends in; return False if no rank has any."""
        joint, ranks, env = self._joint, self._ranks, self._env
        number = joint.number
        most, event_s, idle = 0, math.inf, True
        working: list[RankJump] = []
        for rank in ranks:
            if rank.begins == number:
                rank.begin()
            stretch = rank.stretch
            if stretch is not None:
                left, idle = stretch.left(), False
                working.append(stretch)
                if stretch.event_s < event_s:
                    event_s = stretch.event_s
            else:
                left = 0
                if rank.begins >= 0:
                    left, idle = rank.begins - number, False
                elif rank.retry_s - HALF_INSTANT_S < event_s:
                    event_s = rank.retry_s - HALF_INSTANT_S
            if left and (left < most or not most):
                most = left
        if idle:
            if not joint.running or any(rank.scheduler.has_work for rank in ranks):
                return False
            most = joint.to_sync()
            if not most:
                joint.running = False
                self.when_paused(instant_number(joint.start_s))
                return False
        if self._stepwise:
            most = 1
        ends = self._ends_s(working, most)
        if most > 1 and joint.start_s + ends[most - 1] > event_s:
            most = min(bisect_left(ends, event_s - joint.start_s) + 1, most)
        joint.begin(ends, most)
        for stretch in working:
            if stretch.unlike:
                stretch.time_first()
        self._end = env.boundary(joint.end_s, self._rank_of_end())
        return True

    def _ends_s(self, working: list[RankJump], steps: int) -> Sequence[float]:
        """Return when each of so many joint steps ends, counted from the start of the first."""
        without = len(self._ranks) - len(working)
        lines = [line for stretch in working if (line := stretch.line(self._step_time)) is not None]
        if without and self._idle is not None:
            lines.append(self._idle)
        if len(lines) == len(working) + (without > 0):
            tokens = [stretch.tokens() for stretch in working] + [1] * without
            return line_ends_s(lines, self._step_time.shared_s(tokens), steps)
        batches = [stretch.batch() for stretch in working] + [NO_WORK] * without
        return joint_ends_s(self._step_time, batches, steps)

    def _over(self) -> list[LockstepRank]:
        """Return the ranks whose stretch ends with the joint steps under way."""
        joint = self._joint
        stop, end_s = joint.number + joint.steps, joint.end_s
        over = []
        for rank in self._ranks:
            stretch = rank.stretch
            if stretch is not None:
                if stretch.event_s <= end_s:
                    stretch.steps = stop - stretch.first
                if stretch.first + stretch.steps == stop:
                    over.append(rank)
        return over

    def _rank_of_end(self) -> EventPriority:
        for rank in self._over():
            if rank.ends_turn():
                return self._ends_first
        return self._ends_later

    def _rest(self) -> Generator[simpy.Event, Any, None]:
        """Compute nothing until something happens; while turns are held back, dummy steps go on meanwhile."""
        joint, env, ranks = self._joint, self._env, self._ranks
        held = any(rank.scheduler.has_work for rank in ranks)
        if held and not joint.running:
            joint.begin_wave()
        until_s = min([rank.retry_s for rank in ranks])
        self._wake = env.event()
        if until_s < math.inf:
            yield self._wake | env.tick(until_s, self._ends_later)
        else:
            yield self._wake
        if self._wake.triggered:
            if not self._wake.processed:
                yield self._wake
            now_s = max(joint.start_s, self._woken_s)
        else:
            now_s = max(joint.start_s, until_s)
        self._wake = None
        if held:
            step_s = self._step_time.together_s([NO_WORK] * len(ranks))
            steps = max(0, math.ceil((now_s - HALF_INSTANT_S - joint.start_s) / step_s))
            joint.number += steps
            if joint.start_s + steps * step_s > now_s:
                now_s = joint.start_s + steps * step_s
                yield env.boundary(now_s, self._ends_later)
        joint.start_s = now_s


def _nothing(at: int) -> None:
    """Tell nobody."""
