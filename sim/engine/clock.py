"""Simulated time on exact instants: equal times are equal to the last bit, however they were computed."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Any

import simpy
from simpy.core import SimTime
from simpy.events import NORMAL, EventPriority

from continuum_sim.policies.instants import EDGE, SAME_INSTANT_S

_A_SECOND = 1e9
"""Instants per second: the inverse of `SAME_INSTANT_S`."""

_UP = 1 - EDGE
"""Added to a time in instants to make its integer part the number of the instant it belongs to."""

_AFTER_ALL_ELSE = 2
"""Lower priority than SimPy's own: everything else at an instant happens before the step that starts then."""


def step_rank(rank: int) -> EventPriority:
    """Return the priority of an engine's step boundaries among those at one instant; the lowest rank goes first."""
    return EventPriority(_AFTER_ALL_ELSE + rank)


_FIRST = step_rank(0)


def instant_number(time_s: float) -> int:
    """Return the number of the instant that a time in seconds belongs to, counted from 0 s."""
    return int(time_s * _A_SECOND + _UP)


class Clock(simpy.Environment):
    """SimPy's environment, with events at given times instead of after delays.

    A delay added to the current time is rounded, so two sums that should give the same time may differ, and rounding
    noise would then decide the order of events. Here events at one instant keep the order in which they were scheduled.
    """

    def __init__(self, initial_time: float = 0.0) -> None:
        super().__init__(initial_time)
        self._ticks = 0

    def run(self, until: SimTime | simpy.Event | None = None) -> Any:
        """Process every event, as SimPy's own loop does but without its two calls per event.

        An event that was brought forward leaves its old entry in the queue, which is skipped.
        """
        if until is not None:
            return super().run(until)
        queue = self._queue
        event: Any  # SimPy's types leave out that its callbacks are None once it has been processed
        while queue:
            at_s, _, _, event = heappop(queue)
            callbacks = event.callbacks
            if callbacks is None:
                continue
            self._now = at_s
            event.callbacks = None
            for callback in callbacks:
                callback(event)
            if not event._ok and not hasattr(event, "_defused"):
                raise event._value
        return None

    def step(self) -> None:
        """Process the next event that has not been processed yet."""
        queue = self._queue
        while queue and queue[0][3].processed:
            heappop(queue)
        super().step()

    def instant(self, at_s: float) -> simpy.Event:
        """Create an event at the instant of a time in seconds, or now if that has passed."""
        event = simpy.Event(self)
        self._push(event, instant_number(at_s) * SAME_INSTANT_S, NORMAL)
        return event

    def after(self, start_s: float, delay_s: float) -> simpy.Event:
        """Create an event after a delay, at the instant of `start_s` only if the delay is below `SAME_INSTANT_S`.

        Rounding must not decide this, because it determines whether a step that starts then sees the event.
        """
        number = instant_number(start_s)
        if delay_s >= SAME_INSTANT_S:
            # The boundary of a step that starts at `start_s` is one instant later.
            number = max(number + 2, instant_number(start_s + delay_s))
        event = simpy.Event(self)
        self._push(event, number * SAME_INSTANT_S, NORMAL)
        return event

    def boundary(self, at_s: float, rank: EventPriority = _FIRST) -> simpy.Event:
        """Create the event of a step boundary: just after a time in seconds and everything else at its instant.

        Boundaries at one instant are ordered by rank, so that several engines always meet in the same order.
        """
        event = simpy.Event(self)
        self.bring_forward(event, at_s, rank)
        return event

    def bring_forward(self, event: simpy.Event, at_s: float, rank: EventPriority = _FIRST) -> None:
        """Move an event that was to happen later, or was not scheduled yet, to the boundary at `at_s`."""
        self._push(event, (int(at_s * _A_SECOND + _UP) + 1) * SAME_INSTANT_S, rank)  # `instant_number`

    def tick(self, at_s: float, rank: EventPriority = _FIRST) -> simpy.Event:
        """Create a boundary at which nothing happens unless a policy acts."""
        event = self.boundary(at_s, rank)
        self._ticks += 1
        assert event.callbacks is not None
        event.callbacks.append(self._tick_passed)
        return event

    @property
    def only_ticks_left(self) -> bool:
        """Whether no event of a turn or a tool is pending."""
        return len(self._queue) == self._ticks

    def _tick_passed(self, event: simpy.Event) -> None:
        self._ticks -= 1

    def _push(self, event: simpy.Event, at_s: float, priority: EventPriority) -> None:
        event._ok = True
        event._value = None
        heappush(self._queue, (max(at_s, self._now), priority, next(self._eid), event))
