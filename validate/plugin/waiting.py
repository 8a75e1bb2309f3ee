"""vLLM's waiting queue in the order of a policy, behind its gate."""

from __future__ import annotations

import heapq
import math
from bisect import insort
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vllm.v1.core.sched.request_queue import RequestQueue

from continuum_sim.policies.governor import Governor
from continuum_sim.policies.views import ProgramView, TurnView


@dataclass(frozen=True)
class QueueHost:
    """What the queue asks of the plug-in."""

    view: Callable[[Any], TurnView]
    """The policy's view of a request."""
    now_s: Callable[[], float]
    has_seat: Callable[[], bool]
    """Whether the batch can take another request at all."""
    gated: Callable[[Any], bool]
    """Whether the gate applies to a request (not to those without a program)."""


class PolicyQueue(RequestQueue):  # type: ignore[misc]
    """Waiting requests, sorted by the policy's key; ties by arrival, as in the simulator.

    Without a key it is vLLM's own queue: first come first served, the request preempted last in front. vLLM
    looks (`bool`), peeks, allocates and only then pops, and a pin that ends in between changes keys: `pop_request`
    gives what was peeked. A queue whose requests are all held back by the gate looks empty, yet has a length.
    """

    def __init__(self, governor: Governor, host: QueueHost) -> None:
        self._governor = governor
        self._host = host
        policy = governor.policy
        self._order = policy.order
        self._gated = policy.admission.gated
        self._sorted: list[tuple[Any, int, Any]] = []
        self._numbers: dict[Any, int] = {}
        """Order of arrival of every request that waits, those that vLLM set aside for this step included."""
        self._waiting: set[int] = set()
        """Those numbers."""
        self._arrivals: list[int] = []
        """Heap of them; the ones of requests that left are stale."""
        self._back = self._front = 0
        self._next_change_s = math.inf
        """When keys may change although nothing happens."""
        self._head: Any = None

    # vLLM's interface --------------------------------------------------------------------------------------

    def add_request(self, request: Any) -> None:
        """Queue a request that arrived."""
        self._back += 1
        self._insert(request, self._back)

    def prepend_request(self, request: Any) -> None:
        """Queue a request that was preempted: its key says where, or else the front."""
        if self._order.keyed:
            self.add_request(request)
        else:
            self._front -= 1
            self._insert(request, self._front)

    def prepend_requests(self, requests: Iterable[Any]) -> None:
        """Take back requests that vLLM set aside in this step, at the places they had."""
        for request in requests:
            number = self._numbers.get(request)
            if number is None:
                self.prepend_request(request)
            else:
                self._insert(request, number)

    def peek_request(self) -> Any:
        """Next request to try."""
        if self._head is None:
            self._head = self._find()
        if self._head is None:
            raise IndexError("peek from an empty queue")
        return self._head

    def pop_request(self) -> Any:
        """Take out the request that was peeked."""
        request = self.peek_request()
        self._head = None
        del self._sorted[self._place_of(request)]
        return request

    def remove_request(self, request: Any) -> None:
        """Take a request out for good."""
        self.remove_requests([request])

    def remove_requests(self, requests: Iterable[Any]) -> None:
        """Take requests out for good; those that are not here are passed over."""
        gone = {request for request in requests if self._leave(request) is not None}
        if gone:
            self._head = None
            self._sorted = [entry for entry in self._sorted if entry[2] not in gone]

    def __bool__(self) -> bool:
        if not self._sorted or not self._host.has_seat():
            return False
        self._head = self._find()
        return self._head is not None

    def __len__(self) -> int:
        return len(self._sorted)

    def __iter__(self) -> Iterator[Any]:
        return iter([request for _, _, request in self._sorted])

    # The plug-in's side ------------------------------------------------------------------------------------

    def admitted(self, request: Any) -> None:
        """Take note that a request enters the batch; vLLM pops it next."""
        number = self._leave(request)
        if number is None:
            return
        while self._arrivals and self._arrivals[0] not in self._waiting:
            heapq.heappop(self._arrivals)
        if self._arrivals and self._arrivals[0] < number:
            self._governor.counts.reorders += 1

    def pin_ended(self, program: ProgramView) -> None:
        """Give the waiting turns of a program that lost its pin the places their keys give them now."""
        if not self._order.keyed:
            return
        moved = [entry for entry in self._sorted if self._host.view(entry[2]).program is program]
        if moved:
            self._sorted = [entry for entry in self._sorted if entry not in moved]
            for _, number, request in moved:
                insort(self._sorted, (self._key(request), number, request))

    def _insert(self, request: Any, number: int) -> None:
        self._head = None
        if self._numbers.get(request) != number:
            self._numbers[request] = number
            self._waiting.add(number)
            heapq.heappush(self._arrivals, number)
        insort(self._sorted, (self._key(request), number, request))
        if self._order.keyed and self._order.time_varying:
            change_s = self._order.next_change_s(self._host.view(request), self._host.now_s())
            self._next_change_s = min(self._next_change_s, change_s)

    def _leave(self, request: Any) -> int | None:
        """Strike a request off; returns its number, or None if it was not here."""
        number = self._numbers.pop(request, None)
        if number is not None:
            self._waiting.discard(number)
        return number

    def _key(self, request: Any) -> Any:
        return self._order.key(self._host.view(request), self._host.now_s()) if self._order.keyed else ()

    def _find(self) -> Any:
        """First request that the gate lets through, or None."""
        now_s = self._host.now_s()
        if now_s >= self._next_change_s:
            self._sort_anew(now_s)
        if not self._gated:
            return self._sorted[0][2] if self._sorted else None
        for _, _, request in self._sorted:
            if not self._host.gated(request) or self._governor.allows(self._host.view(request), now_s):
                return request
        return None

    def _sort_anew(self, now_s: float) -> None:
        self._sorted = sorted((self._key(request), number, request) for _, number, request in self._sorted)
        views = (self._host.view(request) for _, _, request in self._sorted)
        self._next_change_s = min((self._order.next_change_s(view, now_s) for view in views), default=math.inf)

    def _place_of(self, request: Any) -> int:
        return next(at for at, entry in enumerate(self._sorted) if entry[2] is request)
