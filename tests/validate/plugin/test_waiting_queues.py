"""The same histories on the simulator's waiting queue and the plug-in's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from continuum_sim.engine.request import Context, Request
from continuum_sim.engine.waiting import WaitingQueue
from continuum_sim.policies import Policy
from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.host.pins import PinLedger
from continuum_sim.policies.views import ProgramView, TurnView
from support.governed import HandContexts, HandEngine
from support.queue_histories import Event, histories, play, policies

pytestmark = pytest.mark.engine


class Simulated:
    def __init__(self, policy: Policy) -> None:
        self.governor = Governor(policy, HandEngine(), PinLedger(HandContexts()))
        self.queue = WaitingQueue(self.governor)
        self.requests: dict[int, Request] = {}

    def add(self, turn: TurnView, now_s: float) -> None:
        request = self.requests[id(turn)] = _request(now_s)
        request.turn = turn
        self.queue.add(request, now_s)

    def put_back(self, turn: TurnView, now_s: float) -> None:
        self.queue.put_back(self.requests[id(turn)], now_s)

    def head(self, now_s: float) -> TurnView | None:
        head = self.queue.head(now_s)
        return None if head is None else head.turn

    def admit(self, turn: TurnView) -> None:
        self.queue.admit(self.requests[id(turn)])

    def pin_changed(self, program: ProgramView, now_s: float) -> None:
        self.queue.pin_changed(program, now_s)

    @property
    def reorders(self) -> int:
        return self.governor.counts.reorders


def _request(now_s: float) -> Request:
    numbers: dict[str, int] = {"prompt_tokens": 1, "kept_tokens": 0, "max_tokens": 1, "known_tokens": 0}
    return Request(Context(None, 0), **numbers, arrival_s=now_s, tool=None, last=False)


class PluggedIn:
    """vLLM's way of using a queue: check, peek, allocate, pop."""

    def __init__(self, policy: Policy) -> None:
        from continuum_sim.validate.plugin.waiting import PolicyQueue, QueueHost

        self.now_s = 0.0
        self.governor = Governor(policy, HandEngine(), PinLedger(HandContexts()))
        host = QueueHost(lambda turn: turn, lambda: self.now_s, lambda: True, lambda turn: True)
        self.queue: Any = PolicyQueue(self.governor, host)

    def add(self, turn: TurnView, now_s: float) -> None:
        self.now_s = now_s
        self.queue.add_request(turn)

    def put_back(self, turn: TurnView, now_s: float) -> None:
        self.now_s = now_s
        self.queue.prepend_request(turn)

    def head(self, now_s: float) -> TurnView | None:
        self.now_s = now_s
        if not self.queue:
            return None
        head: TurnView = self.queue.peek_request()
        self.queue.pop_request()  # set aside for the rest of a step, and put back at its end
        self.queue.prepend_requests([head])
        return head

    def admit(self, turn: TurnView) -> None:
        assert self.queue.peek_request() is turn
        self.queue.admitted(turn)
        assert self.queue.pop_request() is turn

    def pin_changed(self, program: ProgramView, now_s: float) -> None:
        self.now_s = now_s
        self.queue.pin_ended(program)

    @property
    def reorders(self) -> int:
        return self.governor.counts.reorders


@given(histories, policies)
def test_both_try_the_same_turns(history: list[Event], policy: Policy) -> None:
    pytest.importorskip("vllm", reason="vLLM is not installed")
    assert play(history, policy, Simulated(policy)) == play(history, policy, PluggedIn(policy))
