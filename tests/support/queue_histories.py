"""Random histories of a waiting queue: arrivals, preemptions, admissions, pins made and broken, ageing, holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from hypothesis import strategies as st

from continuum_sim.policies import Admission, Order, Policy
from continuum_sim.policies.views import Moment, Pin, ProgramView, TurnView

AGED_S = 5


@dataclass(frozen=True)
class AgedOrPinned(Order):
    """Orders turns that waited 5 s first, then those of pinned programs; each kind by its own ranks."""

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Return (not aged, not pinned, rank)."""
        return (now_s < turn.arrival_s + AGED_S, turn.program.pin is None, turn.prompt_tokens)

    def next_change_s(self, turn: TurnView, now_s: float) -> float:
        """Return when it will have waited 5 s."""
        aged_s = turn.arrival_s + AGED_S
        return aged_s if aged_s > now_s else math.inf


@dataclass(frozen=True)
class Ranked(Order):
    """Orders turns by ranks that never change."""

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Return the rank."""
        return turn.prompt_tokens


@dataclass(frozen=True)
class HeldBack(Admission):
    """Keeps out the programs in a set, which the history changes."""

    held: set[str] = field(default_factory=set)

    def allows(self, turn: TurnView, moment: Moment) -> bool:
        """Return True if its program is not in the set."""
        return turn.program.program_id not in self.held


class Queue(Protocol):
    """A waiting queue as driven by a history; turns stand for requests."""

    def add(self, turn: TurnView, now_s: float) -> None:
        """Queue a turn that arrived."""

    def put_back(self, turn: TurnView, now_s: float) -> None:
        """Queue a turn that was preempted."""

    def head(self, now_s: float) -> TurnView | None:
        """Return the next turn to try."""

    def admit(self, turn: TurnView) -> None:
        """Remove the head."""

    def pin_changed(self, program: ProgramView, now_s: float) -> None:
        """Update the queue after a change of a program's pin."""

    @property
    def reorders(self) -> int:
        """Turns admitted before one that was queued earlier."""


class Event(NamedTuple):
    """One event, and a number that selects the turn or program it concerns."""

    what: str
    which: int
    after_s: int


_WHATS = ("arrive", "arrive", "arrive", "admit", "admit", "preempt", "pin", "hold", "wait")

histories = st.lists(
    st.builds(Event, st.sampled_from(_WHATS), st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=40
)
policies = st.sampled_from((Order(), Ranked(), AgedOrPinned())).flatmap(
    lambda order: st.booleans().map(
        lambda gated: Policy("drawn", order, admission=HeldBack(set()) if gated else Admission())
    )
)


def play(history: list[Event], policy: Policy, queue: Queue) -> list[tuple[str | None, int]]:
    """Drive a queue through a history; return its head and its count of reorders after every event."""
    now_s, seen = 0.0, []
    waiting: list[TurnView] = []
    running: list[TurnView] = []
    for number, event in enumerate(history):
        now_s += event.after_s
        if event.what == "arrive":
            program = ProgramView(f"p{number}", now_s, number)
            program.turn = turn = TurnView(program, 0, now_s, event.which)
            queue.add(turn, now_s)
            waiting.append(turn)
        elif event.what == "admit" and (head := queue.head(now_s)) is not None:
            queue.admit(head)
            waiting.remove(head)
            running.append(head)
        elif event.what == "preempt" and running:
            turn = running.pop(event.which % len(running))
            queue.put_back(turn, now_s)
            waiting.append(turn)
        elif event.what == "pin" and waiting:
            program = waiting[event.which % len(waiting)].program
            program.pin = Pin(math.inf, 1, now_s) if program.pin is None else None
            queue.pin_changed(program, now_s)
        elif event.what == "hold" and waiting and isinstance(policy.admission, HeldBack):
            policy.admission.held.symmetric_difference_update({waiting[event.which % len(waiting)].program.program_id})
        head = queue.head(now_s)
        seen.append((None if head is None else head.program.program_id, queue.reorders))
    if isinstance(policy.admission, HeldBack):
        policy.admission.held.clear()
    return seen
