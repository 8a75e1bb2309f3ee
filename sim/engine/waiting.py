"""The waiting queue of a simulated engine."""

from __future__ import annotations

from collections.abc import Collection

from continuum_sim.engine.request import Request
from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.host.queue import make_turn_queue
from continuum_sim.policies.views import ProgramView


class WaitingQueue:
    """Turns that wait to enter the batch, in the policy's order."""

    def __init__(self, governor: Governor) -> None:
        policy = governor.policy
        allows = governor.allows if policy.admission.gated else None
        self._turns = make_turn_queue(policy.order, governor.counts, allows)
        self.queued: Collection[object] = self._turns.entries
        """The queue's entries, for counting only."""
        self._aside: list[Request] = []
        self._deferred: set[Request] = set()

    @property
    def binds(self) -> bool:
        """Whether turns wait that were not passed over since they were queued (vLLM's `prefill_capacity_bound`)."""
        return len(self.queued) > len(self._deferred)

    @property
    def next_change_s(self) -> float:
        """When the order may change although nothing happens."""
        return self._turns.next_change_s

    def add(self, request: Request, now_s: float) -> None:
        """Queue a turn that just arrived."""
        self._turns.add(request.turn, request, now_s)

    def put_back(self, request: Request, now_s: float) -> None:
        """Queue a turn that was preempted."""
        self._turns.put_back(request.turn, request, now_s)

    def head(self, now_s: float) -> Request | None:
        """Return the next turn to try; None if the policy lets none through."""
        request: Request | None = self._turns.head(now_s)
        return request

    def admit(self, request: Request) -> None:
        """Remove a turn that enters the batch, or that is admitted and waits for its blocks."""
        self._turns.admit(request)
        self._deferred.discard(request)

    def pass_over(self, request: Request) -> None:
        """Set a turn aside for the rest of a step, as transfers are under way."""
        self._turns.set_aside(request)
        self._aside.append(request)
        self._deferred.add(request)

    def take_back(self, now_s: float) -> int:
        """Queue the turns again that were passed over, each at its place; return how many these are."""
        passed = len(self._aside)
        for request in self._aside:
            self._turns.take_back(request, now_s)
        self._aside.clear()
        return passed

    def drop(self, request: Request) -> None:
        """Remove a turn that ended while it waited."""
        self._turns.drop(request)
        self._deferred.discard(request)

    def may_be_next(self, request: Request) -> bool:
        """Return whether a turn just queued may be the next one to be tried."""
        return self._turns.may_be_next(request)

    def pin_changed(self, program: ProgramView, now_s: float) -> None:
        """Move the program's waiting turn to the place its key gives it after a pin started or ended."""
        self._turns.pin_changed(program, now_s)

    def requests(self) -> list[Request]:
        """Return the turns that wait."""
        return [entry[3] for entry in self._turns.entries]

    def shortest_tokens(self) -> int:
        """Return the tokens of the shortest waiting turn; 0 if none waits."""
        return min([entry[3].num_tokens for entry in self._turns.entries], default=0)
