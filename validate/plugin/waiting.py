"""vLLM's waiting queue, in a policy's order and behind its gate."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from vllm.v1.core.sched.request_queue import RequestQueue

from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.host.queue import make_turn_queue
from continuum_sim.policies.views import ProgramView, TurnView


@dataclass(frozen=True)
class QueueHost:
    """What the queue needs from the plug-in."""

    view: Callable[[Any], TurnView]
    """The policy's view of a request."""
    now_s: Callable[[], float]
    has_seat: Callable[[], bool]
    """Returns True if the batch has room for another request."""
    gated: Callable[[TurnView], bool]
    """Whether the gate applies to a turn; it does not apply to requests without a program."""


class PolicyQueue(RequestQueue):  # type: ignore[misc]
    """A policy's queue of turns behind vLLM's interface.

    vLLM tests the queue (`bool`), peeks, allocates and only then pops, and a pin that ends in between changes keys;
    so `pop_request` returns the request that was peeked. A request that is popped without having been admitted is set
    aside for the rest of the step. A queue whose requests are all held by the gate is false, yet has a length.
    """

    def __init__(self, governor: Governor, host: QueueHost) -> None:
        self._governor = governor
        self._host = host
        policy = governor.policy
        allows = self._allows if policy.admission.gated else None
        self._turns = make_turn_queue(policy.order, governor.counts, allows)
        self._head: Any = None
        self._admitted: Any = None
        """The request that was just admitted and that vLLM pops next."""

    # vLLM's interface --------------------------------------------------------------------------------------

    def add_request(self, request: Any) -> None:
        """Queue a request that arrived."""
        self._head = None
        self._turns.add(self._host.view(request), request, self._host.now_s())

    def prepend_request(self, request: Any) -> None:
        """Queue a request that was preempted: where its key says, or at the front if the order has no keys."""
        self._head = None
        self._turns.put_back(self._host.view(request), request, self._host.now_s())

    def prepend_requests(self, requests: Iterable[Any]) -> None:
        """Put requests that vLLM set aside in this step back at the places they had."""
        self._head = None
        for request in requests:
            if not self._turns.take_back(request, self._host.now_s()):
                self.prepend_request(request)

    def peek_request(self) -> Any:
        """Return the next request to try."""
        if self._head is None:
            self._head = self._turns.head(self._host.now_s())
        if self._head is None:
            raise IndexError("peek from an empty queue")
        return self._head

    def pop_request(self) -> Any:
        """Remove and return the request that was peeked."""
        request = self.peek_request()
        self._head = None
        if request is not self._admitted:
            self._turns.set_aside(request)
        self._admitted = None
        return request

    def remove_request(self, request: Any) -> None:
        """Remove a request that was aborted."""
        self.remove_requests([request])

    def remove_requests(self, requests: Iterable[Any]) -> None:
        """Remove requests that were aborted; those not in this queue are ignored."""
        self._head = None
        for request in requests:
            self._turns.drop(request)

    def __bool__(self) -> bool:
        if not self._turns.entries or not self._host.has_seat():
            return False
        self._head = self._turns.head(self._host.now_s())
        return self._head is not None

    def __len__(self) -> int:
        return len(self._turns.entries)

    def __iter__(self) -> Iterator[Any]:
        return iter([entry[3] for entry in self._turns.entries])

    # The plug-in's side ------------------------------------------------------------------------------------

    def admitted(self, request: Any) -> None:
        """Remove the request that was peeked, because it enters the batch; vLLM pops it next."""
        if request is not self._head:
            return  # it came from another of vLLM's queues
        self._admitted = request
        self._turns.admit(request)

    def pin_ended(self, program: ProgramView) -> None:
        """Move the waiting turns of a program that lost its pin to the places that their keys give them now."""
        self._turns.pin_changed(program, self._host.now_s())

    def _allows(self, turn: TurnView, now_s: float) -> bool:
        return not self._host.gated(turn) or self._governor.allows(turn, now_s)
