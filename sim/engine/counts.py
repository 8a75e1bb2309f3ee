"""What an engine tells the coordinator of data-parallel ranks about its queues, and when.

As `EngineCore._maybe_publish_request_counts` (vllm/v1/engine/core.py) does: before and after each step, if the numbers
of turns running and waiting have changed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from continuum_sim.engine.clock import instant_number
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.policies.views import EngineCounts

Stamp = tuple[int, int]
"""Wave and step of ranks that step together."""
NO_STAMP: Final = (-1, -1)

Tell = Callable[[int, EngineCounts, Stamp], None]
"""Takes the instant at which counts are sent, the counts, and their stamp."""


class QueueCounts:
    """The counts of one engine, as of its latest message."""

    def __init__(self, scheduler: Scheduler, tell: Tell) -> None:
        self._scheduler = scheduler
        self._tell = tell
        self._waiting = self._running = 0
        self.stamp: Stamp = NO_STAMP
        """Stamp of the next message."""
        self._sent = -1
        """Instant of the latest message."""

    def note(self, at_s: float) -> None:
        """Send the counts at that time, if they have changed since the latest message, or if that is sent just then."""
        scheduler, at = self._scheduler, instant_number(at_s)
        waiting, running = scheduler.num_waiting, scheduler.num_running
        if waiting == self._waiting and running == self._running and at != self._sent:
            return
        self._waiting, self._running, self._sent = waiting, running, at
        usage = 1.0 - scheduler.free_blocks / scheduler.total_blocks
        self._tell(at, EngineCounts(waiting, running, usage), self.stamp)
