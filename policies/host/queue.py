"""The waiting queue: turns in the order of a policy's key, filtered by its gate.

Each engine's own waiting queue is a thin wrapper around a `TurnQueue`. Its requests are opaque here.
"""

from __future__ import annotations

import math
from bisect import insort
from collections import deque
from collections.abc import Callable
from typing import Any

from continuum_sim.policies.host.counts import PolicyCounts
from continuum_sim.policies.planes import Order
from continuum_sim.policies.views import ProgramView, TurnView

Allows = Callable[[TurnView, float], bool]
"""Returns whether the gate lets a turn be tried at a time in s."""

Entry = tuple[Any, int, TurnView, Any]
"""(key, number, turn, request); a turn queued later has a larger number."""


class TurnQueue:
    """Turns in vLLM's own order: first come, first served, but the latest preempted turn goes to the front."""

    def __init__(self, counts: PolicyCounts, allows: Allows | None) -> None:
        """Start empty; without `allows`, every turn may be tried."""
        self._counts = counts
        self._allows = allows
        self.entries: list[Entry] = []
        """Turns that may be tried, in order."""
        self._aside: dict[Any, Entry] = {}
        """Entries that the engine set aside for the rest of a step, by request."""
        self._last = 0
        self._first = 0
        self.next_change_s = math.inf
        """When the order may change although nothing happens."""

    def add(self, turn: TurnView, request: Any, now_s: float) -> None:
        """Queue a turn that just arrived."""
        self._last += 1
        self.entries.append(((), self._last, turn, request))

    def put_back(self, turn: TurnView, request: Any, now_s: float) -> None:
        """Queue a turn that was preempted."""
        self._first -= 1
        self.entries.insert(0, ((), self._first, turn, request))

    def head(self, now_s: float) -> Any:
        """Return the next request to try; None if the gate lets none through."""
        entries, allows = self.entries, self._allows
        if allows is None:
            return entries[0][3] if entries else None
        for entry in entries:
            if allows(entry[2], now_s):
                return entry[3]
        return None

    def admit(self, request: Any) -> None:
        """Remove a turn that enters the batch; count a reorder if one queued earlier still waits."""
        number = self._take(request)[1]
        if self._earliest(number) < number:
            self._counts.reorders += 1

    def drop(self, request: Any) -> bool:
        """Remove an aborted request; return whether it was queued."""
        entry = self._aside.pop(request, None)
        if entry is None:
            if all(other[3] is not request for other in self.entries):
                return False
            entry = self._take(request)
        self._earliest(entry[1])
        return True

    def set_aside(self, request: Any) -> None:
        """Remove a request for the rest of a step; `take_back` returns it to its place."""
        self._aside[request] = self._take(request)

    def take_back(self, request: Any, now_s: float) -> bool:
        """Queue a request again that was set aside; return whether it was."""
        entry = self._aside.pop(request, None)
        if entry is None:
            return False
        insort(self.entries, self._as_of_now(entry, now_s))
        return True

    def pin_changed(self, program: ProgramView, now_s: float) -> None:
        """React to a program that lost or gained a pin; vLLM's order does not depend on pins."""

    def may_be_next(self, request: Any) -> bool:
        """Return whether a request just queued may be the next one to be tried."""
        return self._allows is not None or self.entries[0][3] is request

    def _as_of_now(self, entry: Entry, now_s: float) -> Entry:
        return entry

    def _earliest(self, gone: int) -> float:
        """Return the lowest number of the turns that still wait, infinite if none does; turn `gone` has just left."""
        first = self.entries[0][1] if self.entries else math.inf
        return min([first, *[entry[1] for entry in self._aside.values()]]) if self._aside else first

    def _take(self, request: Any) -> Entry:
        entries = self.entries
        if entries[0][3] is request:
            return entries.pop(0)
        return entries.pop(next(at for at, entry in enumerate(entries) if entry[3] is request))


class OrderedTurnQueue(TurnQueue):
    """Turns in the order of a policy's key; ties keep the order in which they were queued."""

    def __init__(self, order: Order, counts: PolicyCounts, allows: Allows | None) -> None:
        super().__init__(counts, allows)
        self._order = order
        self._numbers: deque[int] = deque()
        """Numbers of the turns that wait, and of some that have left, ascending."""
        self._gone: set[int] = set()
        """Those of `_numbers` that have left."""

    def add(self, turn: TurnView, request: Any, now_s: float) -> None:
        """Queue a turn at the place its key gives it."""
        self._last += 1
        self._numbers.append(self._last)
        insort(self.entries, self._as_of_now(((), self._last, turn, request), now_s))

    def put_back(self, turn: TurnView, request: Any, now_s: float) -> None:
        """Queue a preempted turn at the place its key gives it."""
        self.add(turn, request, now_s)

    def head(self, now_s: float) -> Any:
        """Return the next request to try, after re-sorting if keys may have changed with time."""
        if now_s >= self.next_change_s:
            self.next_change_s = math.inf
            self.entries[:] = sorted([self._as_of_now(entry, now_s) for entry in self.entries])
        return super().head(now_s)

    def pin_changed(self, program: ProgramView, now_s: float) -> None:
        """Move a program's waiting turns to the places that their keys now give them."""
        if program.turn_end_s is not None:
            return  # in a tool call: none of its turns waits
        moved = [entry for entry in self.entries if entry[2].program is program]
        for entry in moved:
            self._take(entry[3])
            insort(self.entries, self._as_of_now(entry, now_s))

    def may_be_next(self, request: Any) -> bool:
        """Return whether a request just queued may be the next one to be tried."""
        return self._order.time_varying or super().may_be_next(request)

    def _as_of_now(self, entry: Entry, now_s: float) -> Entry:
        """Return an entry with its key as of now, and note when that key may change."""
        _, number, turn, request = entry
        if self._order.time_varying:
            self.next_change_s = min(self.next_change_s, self._order.next_change_s(turn, now_s))
        return (self._order.key(turn, now_s), number, turn, request)

    def _earliest(self, gone: int) -> float:
        numbers = self._numbers
        if not self.entries and not self._aside:
            self.next_change_s = math.inf
            numbers.clear()
            self._gone.clear()
            return math.inf
        self._gone.add(gone)
        while numbers and numbers[0] in self._gone:
            self._gone.discard(numbers.popleft())
        return numbers[0]


def make_turn_queue(order: Order, counts: PolicyCounts, allows: Allows | None) -> TurnQueue:
    """Return a queue in vLLM's own order unless the policy defines a key."""
    return OrderedTurnQueue(order, counts, allows) if order.keyed else TurnQueue(counts, allows)
