"""The engine over time, from its steps and stalls: one record per stretch."""

from __future__ import annotations

from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.world.records import Recorder, TimelineRecord


class Timeline:
    """Turns the engine's steps into timeline records."""

    def __init__(self, recorder: Recorder, replica: int = 0) -> None:
        self._recorder = recorder
        self._replica = replica
        self._running = self._waiting = 0
        self._late_s: list[float] = []
        """When turns arrived since the stretch began that is to be recorded next, and since it ended."""
        self._stalled: tuple[float, tuple[int, int, int]] | None = None
        """Start of a stretch without steps in which turns wait, and the block counts then."""

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        """Count a turn that waits for a part of the current stretch."""
        self._late_s.append(now_s)

    def on_abort(self, scheduler: Scheduler, request: Request, now_s: float) -> None:
        """Do nothing: until now the turn was there."""

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        """Start a stretch, and end one without steps."""
        if self._stalled is not None:
            start_s, blocks = self._stalled
            self._stalled = None
            if now_s > start_s:
                waiting = self._mean_waiting(start_s, now_s)
                self._recorder.timeline(TimelineRecord(start_s, now_s, 0, 0, waiting, 0, 0, *blocks, self._replica))
        self._count(scheduler, [])
        if plan.empty and self._waiting:
            self._stalled = (now_s, _blocks(scheduler))

    def on_advance(
        self, scheduler: Scheduler, plan: Plan, steps: int, start_s: float, end_s: float, finished: list[Request]
    ) -> None:
        """Record the stretch, with the block counts after it."""
        self._stalled = None  # a plan made meanwhile may be empty, but a step was under way
        batch = plan.batch
        self._recorder.timeline(
            TimelineRecord(
                start_s,
                end_s,
                steps,
                self._running,
                self._mean_waiting(start_s, end_s),
                batch.prefill_tokens,
                plan.decodes,
                *_blocks(scheduler),
                self._replica,
            )
        )
        if scheduler.plans:  # else the next stretch begins when a step is planned
            # A jump may be carried out, and its first step recorded, only after turns came in a later one.
            self._count(scheduler, [at_s for at_s in self._late_s if at_s >= end_s])

    def _count(self, scheduler: Scheduler, late_s: list[float]) -> None:
        self._running = len(scheduler.running)
        self._waiting = scheduler.num_waiting + len(scheduler.reloading) - len(late_s)
        self._late_s = late_s

    def _mean_waiting(self, start_s: float, end_s: float) -> float:
        waited_s = [end_s - at_s for at_s in self._late_s if at_s < end_s]
        return self._waiting + sum(waited_s) / (end_s - start_s) if waited_s else float(self._waiting)


def _blocks(scheduler: Scheduler) -> tuple[int, int, int]:
    """Return the numbers of free, cached and pinned blocks."""
    pool = scheduler.pool
    return pool.free, pool.free - pool.blank, scheduler.pinned_blocks
