"""The order in which turns wait, against a list that is searched again at every look."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from continuum_sim.policies import Policy
from continuum_sim.policies.host.counts import PolicyCounts
from continuum_sim.policies.host.queue import make_turn_queue
from continuum_sim.policies.views import Moment, ProgramView, TurnView
from support.queue_histories import Event, histories, play, policies


class Naive:
    """Every turn with its number; the head is the one with the smallest key at that time."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.waiting: list[tuple[int, TurnView]] = []
        self.first = self.last = 0
        self.reorders = 0

    def add(self, turn: TurnView, now_s: float) -> None:
        self.last += 1
        self.waiting.append((self.last, turn))

    def put_back(self, turn: TurnView, now_s: float) -> None:
        if self.policy.order.keyed:
            self.add(turn, now_s)
        else:
            self.first -= 1
            self.waiting.append((self.first, turn))

    def head(self, now_s: float) -> TurnView | None:
        moment: Any = Moment(now_s, None, None)  # type: ignore[arg-type]
        allowed = [entry for entry in self.waiting if self.policy.admission.allows(entry[1], moment)]
        order = self.policy.order

        def place(entry: tuple[int, TurnView]) -> Any:
            return (order.key(entry[1], now_s) if order.keyed else (), entry[0])

        return min(allowed, key=place)[1] if allowed else None

    def admit(self, turn: TurnView) -> None:
        number = next(number for number, other in self.waiting if other is turn)
        self.waiting.remove((number, turn))
        self.reorders += any(other < number for other, _ in self.waiting)

    def pin_changed(self, program: ProgramView, now_s: float) -> None:
        pass


class Ours:
    def __init__(self, policy: Policy) -> None:
        gate: Any = policy.admission
        allows = (lambda turn, now_s: gate.allows(turn, None)) if gate.gated else None
        self.counts = PolicyCounts()
        self.queue = make_turn_queue(policy.order, self.counts, allows)

    def add(self, turn: TurnView, now_s: float) -> None:
        self.queue.add(turn, turn, now_s)

    def put_back(self, turn: TurnView, now_s: float) -> None:
        self.queue.put_back(turn, turn, now_s)

    def head(self, now_s: float) -> TurnView | None:
        head: TurnView | None = self.queue.head(now_s)
        return head

    def admit(self, turn: TurnView) -> None:
        self.queue.admit(turn)

    def pin_changed(self, program: ProgramView, now_s: float) -> None:
        self.queue.pin_changed(program, now_s)

    @property
    def reorders(self) -> int:
        return self.counts.reorders


@given(histories, policies)
def test_the_head_is_the_least_by_its_key_of_now(history: list[Event], policy: Policy) -> None:
    assert play(history, policy, Ours(policy)) == play(history, policy, Naive(policy))


@given(histories, policies)
def test_what_is_set_aside_comes_back_to_its_place(history: list[Event], policy: Policy) -> None:
    class Aside(Ours):
        """Sets the head aside and takes it back before every look."""

        def head(self, now_s: float) -> TurnView | None:
            head = super().head(now_s)
            if head is not None:
                self.queue.set_aside(head)
                assert self.queue.take_back(head, now_s)
                assert super().head(now_s) is head
            return head

    assert play(history, policy, Aside(policy)) == play(history, policy, Naive(policy))


def test_what_was_given_up_is_gone() -> None:
    policy = Policy("plain")
    counts = PolicyCounts()
    queue = make_turn_queue(policy.order, counts, None)
    turns = [TurnView(ProgramView(name, 0.0, at), 0, 0.0, 1) for at, name in enumerate("abc")]
    for turn in turns:
        queue.add(turn, turn, 0.0)
    queue.set_aside(turns[0])
    assert queue.drop(turns[0])
    assert queue.drop(turns[1])
    assert not queue.drop(turns[1])
    assert not queue.take_back(turns[0], 0.0)
    assert queue.head(0.0) is turns[2]
    queue.admit(turns[2])
    assert (counts.reorders, len(queue.entries)) == (0, 0)
