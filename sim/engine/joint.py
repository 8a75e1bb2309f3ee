"""The steps that data-parallel ranks take together: which one is under way, and when it ends."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Final

from continuum_sim.engine.counts import Stamp
from continuum_sim.engine.jump import BEFORE_S

DP_SYNC_INTERVAL: Final = 16
"""Steps after which the ranks find out whether any has work (`ParallelConfig.dp_sync_interval`)."""


class JointSteps:
    """A stretch of joint steps whose times are known, and their numbers since the run began.

    Parameters
    ----------
    ahead
        Whether each rank plans a step while the one before it runs (asynchronous scheduling).
    """

    def __init__(self, *, ahead: bool) -> None:
        self.number = 0
        """Number of the first step of the stretch, or of the next one if none is under way."""
        self.start_s = 0.0
        """When that step begins."""
        self.steps = 0
        """Steps of the stretch; 0 if none is under way."""
        self.running = False
        """Whether the ranks step at all, be it without work (`engines_running`)."""
        self.wave = 0
        """How often they have begun to."""
        self._ahead = int(ahead)
        self._ends_s: Sequence[float] = ()
        self._first = 0
        """Number of the first step of the wave."""

    @property
    def end_s(self) -> float:
        """When the stretch ends."""
        return self.end_of(self.number + self.steps - 1)

    def begin(self, ends_s: Sequence[float], steps: int) -> None:
        """Begin a stretch whose steps end so long after it starts."""
        if not self.running:
            self.begin_wave()
        self._ends_s, self.steps = ends_s, steps

    def begin_wave(self) -> None:
        """Let the ranks step from now on."""
        self.running = True
        self.wave += 1
        self._first = self.number

    def over(self) -> None:
        """End the stretch."""
        self.start_s = self.end_s
        self.number += self.steps
        self.steps = 0

    def end_of(self, number: int) -> float:
        """Return when a step of the stretch, or the one before it, ends."""
        at = number - self.number
        return self.start_s + self._ends_s[at] if at >= 0 else self.start_s

    def under_way(self, clock_s: float) -> int:
        """Return the number of the step under way; one that ends exactly at the clock's current time still is."""
        if self.steps <= 1:
            return self.number
        return self.number + min(bisect_left(self._ends_s, clock_s - BEFORE_S - self.start_s), self.steps - 1)

    def cut(self, number: int) -> bool:
        """End the stretch with this step; return True if that is sooner."""
        steps = number + 1 - self.number
        if steps >= self.steps:
            return False
        self.steps = steps
        return True

    def to_sync(self) -> int:
        """Return after how many more steps the ranks find out whether any has work; 0 if they just have.

        `DPEngineCoreProc._has_global_unfinished_reqs`: after the first step of a wave, and at every 16th.
        """
        done = self.number - self._first
        return 1 if not done else 0 if done == 1 else -done % DP_SYNC_INTERVAL

    def committed(self, idle: bool) -> int:
        """Return how many steps without work a rank still takes before the first that it plans now.

        While it runs dummy batches its engine core is one step ahead of those that wait for results, except after
        steps that all of them wait for; with asynchronous scheduling there is a step under way in any case.

        Parameters
        ----------
        idle
            Whether it had no work in the step before either.
        """
        if not self.running:
            return 0
        done = self.number - self._first + self._ahead
        synced = done == 1 or done % DP_SYNC_INTERVAL == 0
        return self._ahead + int(idle and not synced)

    def stamp_after(self, number: int, *, before: bool = True) -> Stamp:
        """Return the stamp of what an engine says after a step: at its end, or `before` the next one begins."""
        if not self.running:
            return self.wave + 1, 0
        done = number + 1 - self._first
        return self.wave, done - 1 + int(self._ahead) + before if done > 0 else 0
