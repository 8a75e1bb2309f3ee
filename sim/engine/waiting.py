"""The queue of turns that wait to enter the batch."""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Collection
from typing import Any

from continuum_sim.engine.request import Request
from continuum_sim.policies.governor import Governor
from continuum_sim.policies.views import ProgramView


class WaitingQueue:
    """vLLM's own queue: first come first served, the turn preempted last in front of all."""

    def __init__(self, governor: Governor) -> None:
        self._governor = governor
        self._gated = governor.policy.admission.gated
        self._queue: deque[Request] = deque()
        self.queued: Collection[object] = self._queue
        """What is in the queue, for counting it."""
        self.next_change_s = math.inf
        """When the order may change although nothing happens."""

    def add(self, request: Request, now_s: float) -> None:
        """Queue a turn that just arrived."""
        self._queue.append(request)

    def put_back(self, request: Request, now_s: float) -> None:
        """Queue a turn that was preempted."""
        self._queue.appendleft(request)

    def head(self, now_s: float) -> Request | None:
        """Next turn to try, or None if there is none that the policy lets through."""
        if not self._gated:
            return self._queue[0] if self._queue else None
        return next((r for r in self._queue if self._governor.allows(r.turn, now_s)), None)

    def remove(self, request: Request) -> None:
        """Take out the turn that was admitted."""
        if self._queue[0] is request:
            self._queue.popleft()
        else:
            self._queue.remove(request)
            self._governor.counts.reorders += 1

    def shortest_tokens(self) -> int:
        """Tokens of the shortest turn that waits; 0 if none does."""
        return min((request.num_tokens for request in self._queue), default=0)

    def may_be_next(self, request: Request) -> bool:
        """Whether a turn just queued may be the next one to be tried."""
        return self._gated or self._queue[0] is request

    def pin_changed(self, program: ProgramView) -> None:
        """Take note that this program lost or gained a pin, which an order may look at."""


class OrderedQueue(WaitingQueue):
    """Turns in the order of a policy's key; ties in the order in which they were queued."""

    def __init__(self, governor: Governor) -> None:
        super().__init__(governor)
        self._order = governor.policy.order
        self._sorted: list[tuple[Any, int, Request]] = []
        self.queued = self._sorted
        self._added = 0
        self._arrivals: deque[int] = deque()
        self._gone: set[int] = set()

    def add(self, request: Request, now_s: float) -> None:
        """Queue a turn at the place its key gives it."""
        self._added += 1
        self._arrivals.append(self._added)
        insort(self._sorted, (self._order.key(request.turn, now_s), self._added, request))
        if self._order.time_varying:
            self.next_change_s = min(self.next_change_s, self._order.next_change_s(request.turn, now_s))

    def put_back(self, request: Request, now_s: float) -> None:
        """Queue a turn that was preempted, likewise."""
        self.add(request, now_s)

    def head(self, now_s: float) -> Request | None:
        """Next turn to try, after sorting anew where keys change with time."""
        if now_s >= self.next_change_s:
            key, next_change_s = self._order.key, self._order.next_change_s
            self._sorted[:] = sorted((key(r.turn, now_s), n, r) for _, n, r in self._sorted)
            self.next_change_s = min((next_change_s(r.turn, now_s) for _, _, r in self._sorted), default=math.inf)
        if not self._gated:
            return self._sorted[0][2] if self._sorted else None
        return next((r for _, _, r in self._sorted if self._governor.allows(r.turn, now_s)), None)

    def remove(self, request: Request) -> None:
        """Take out the turn that was admitted, which need not be the first any more."""
        entries = self._sorted
        number = entries.pop(0 if entries[0][2] is request else self._place_of(request))[1]
        if not entries:
            self.next_change_s = math.inf
            self._arrivals.clear()
            self._gone.clear()
            return
        self._gone.add(number)
        while self._arrivals and self._arrivals[0] in self._gone:
            self._gone.discard(self._arrivals.popleft())
        if self._arrivals and self._arrivals[0] < number:
            self._governor.counts.reorders += 1

    def shortest_tokens(self) -> int:
        """Tokens of the shortest turn that waits; 0 if none does."""
        return min((request.num_tokens for _, _, request in self._sorted), default=0)

    def may_be_next(self, request: Request) -> bool:
        """Whether a turn just queued may be the next one to be tried."""
        return self._gated or self._order.time_varying or self._sorted[0][2] is request

    def pin_changed(self, program: ProgramView) -> None:
        """Give the program's waiting turn, if it has one, the place its key gives it now."""
        if program.turn_end_s is not None:
            return
        for at, (_, number, request) in enumerate(self._sorted):
            if request.turn.program is program:
                del self._sorted[at]
                insort(self._sorted, (self._order.key(request.turn, request.arrival_s), number, request))
                return

    def _place_of(self, request: Request) -> int:
        return next(at for at, entry in enumerate(self._sorted) if entry[2] is request)


def make_waiting_queue(governor: Governor) -> WaitingQueue:
    """Choose vLLM's own queue unless the policy has an order of its own."""
    return OrderedQueue(governor) if governor.policy.order.keyed else WaitingQueue(governor)
