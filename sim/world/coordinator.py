"""vLLM's data-parallel coordinator: what its front ends know of the ranks' queues, and since when.

Engines tell it of their queues before and after each step, if these have changed; it publishes what it knows at most
every 100 ms. Names follow `DPCoordinatorProc.process_input_socket` of `vllm/v1/engine/coordinator.py` (0.32, 0.33).
Messages take no time, and all that are sent at one instant arrive before anything is published.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final, NamedTuple

from continuum_sim.engine.counts import NO_STAMP, Stamp
from continuum_sim.policies.views import EngineCounts

_MS: Final = 1_000_000
"""Instants (`engine/clock.py`) per ms."""
STATS_UPDATE_INTERVAL: Final = 100 * _MS
"""Least time between publications (`min_stats_update_interval_ms`)."""
_UNCHANGED_INTERVAL: Final = 5_000 * _MS
"""Time from one publication to the next if no count has changed."""
_STEP_WAIT: Final = 50 * _MS
"""How long it waits for more counts of the same step, where ranks step together."""


class _Message(NamedTuple):
    at: int
    """Instant."""
    stamp: Stamp
    order: int
    engine: int
    """Negative for one without counts."""
    counts: EngineCounts


NO_COUNTS: Final = EngineCounts(0, 0, 0.0)


class Coordinator:
    """Keeps the counts of all engines, and publishes them.

    Parameters
    ----------
    lockstep
        Whether the ranks step together (`enable_wave_coordination`): counts are then published as of whole steps.
    """

    def __init__(self, engines: int, *, lockstep: bool = False) -> None:
        self._counts = [NO_COUNTS] * engines
        self._lockstep = lockstep
        self._messages: list[_Message] = []
        self._sent = 0
        self._stats_changed = False
        self._last_stats = NO_STAMP
        self._last_step_counts: tuple[EngineCounts, ...] | None = None
        self._polls_since = 0
        self._last_publish = 0  # when the server starts, nothing has changed yet

    def tell(self, engine: int, at: int, counts: EngineCounts, stamp: Stamp = NO_STAMP) -> None:
        """Take an engine's counts, which it sends at this instant, not before the latest publication asked for."""
        heappush(self._messages, _Message(at, stamp, self._sent, engine, counts))
        self._sent += 1

    def tell_nothing(self, at: int) -> None:
        """Take a message without counts, such as that the ranks pause: the coordinator begins to wait anew."""
        self.tell(-1, at, NO_COUNTS)

    def published(self, until: int) -> tuple[EngineCounts, ...] | None:
        """Return what was last published before this instant, if that was not returned before."""
        found = None
        messages = self._messages
        while True:
            due = self._due()
            if messages and messages[0].at <= due and messages[0].at < until:
                self._take(heappop(messages))
                continue
            if due >= until:
                return found
            if self._last_step_counts is not None:
                found, self._last_step_counts = self._last_step_counts, None
            else:
                found = tuple(self._counts)
                if not self._stats_changed:  # and publishes the same again until a message arrives
                    stop = min(until, messages[0].at) if messages else until
                    due += max(0, stop - 1 - due) // _UNCHANGED_INTERVAL * _UNCHANGED_INTERVAL
                self._stats_changed = False
            self._last_publish = self._polls_since = due

    def _due(self) -> int:
        """Return when it publishes if no message arrives before."""
        wait = STATS_UPDATE_INTERVAL if self._stats_changed else _UNCHANGED_INTERVAL
        least = _STEP_WAIT if self._lockstep and self._last_step_counts is None else 0
        return max(self._polls_since + least, self._last_publish + wait)

    def _take(self, message: _Message) -> None:
        self._polls_since = message.at
        if message.engine < 0:
            return
        if self._lockstep and message.stamp > self._last_stats:
            if self._stats_changed:
                self._last_step_counts = tuple(self._counts)
            self._last_stats = message.stamp
        self._counts[message.engine] = message.counts
        self._stats_changed = True
