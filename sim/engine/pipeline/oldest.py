"""The oldest step under way in a pipeline: the one whose output the engine waits for next."""

from __future__ import annotations

from continuum_sim.engine.jump import Report
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler


class OldestStep:
    """One step, as `Jump` is one or more: its end was known when it was planned, and nothing cuts it short."""

    steps = 1
    open = False

    def __init__(self, scheduler: Scheduler, start_s: float, report: Report) -> None:
        """Wait from `start_s` on, when the engine has planned all it can."""
        self._scheduler = scheduler
        self._report = report
        self.start_s = start_s
        self.end_s = max(start_s, scheduler.plans[0].end_s)

    def catch_up(self, clock_s: float) -> None:
        """Do nothing: no step is over before the end."""

    def cut(self, clock_s: float) -> bool:
        """Return False: it ends no sooner."""
        return False

    def ends_turn(self) -> bool:
        """Return whether some turn has all its tokens at the end."""
        return bool(self._scheduler.plans[0].ended)

    def reach_last(self) -> None:
        """Do nothing: it is the last."""

    def finish(self) -> list[Request]:
        """Carry it out; return the turns that ended. Empty plans that come to the front are over too."""
        plans = self._scheduler.plans
        plan = plans[0]
        ended = self._scheduler.update_from_output(self.end_s)
        while plans and plans[0].empty:
            plans.popleft()
        self._report(plan, 1, self.start_s, self.end_s, ended)
        return ended
