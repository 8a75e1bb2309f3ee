"""What the host asks a rule follows from the methods it overrides: none is ever ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

import continuum_sim as cs
from continuum_sim.policies import Admission, Gate, Order, Policy, PolicyError, Recall, Retention, Review
from continuum_sim.policies.views import Moment, ProgramView, TurnView


@dataclass(frozen=True)
class LatestFirst(Order):
    """The youngest program first, and not a word about flags."""

    def key(self, turn: TurnView, now_s: float) -> float:
        return -turn.program.arrival_s


@dataclass(frozen=True)
class Ageing(LatestFirst):
    def next_change_s(self, turn: TurnView, now_s: float) -> float:
        return now_s + 1.0


class Keyed:
    """A method that comes from elsewhere."""

    def key(self, turn: TurnView, now_s: float) -> int:
        return 0


@dataclass(frozen=True)
class Mixed(Keyed, Order):
    pass


@dataclass(frozen=True)
class Thinks(Retention):
    def review(self, pinned: Sequence[ProgramView], moment: Moment) -> Review:
        return Review((), 1.0)


@dataclass(frozen=True)
class Brings(Retention):
    def recall(self, away: Sequence[ProgramView], moment: Moment) -> Recall:
        return Recall((), 1.0)


@dataclass(frozen=True, slots=True)
class Holds(Admission):
    def allows(self, turn: TurnView, moment: Moment) -> bool:
        return True


@dataclass(frozen=True)
class Starts(Admission):
    def start(self) -> Gate:
        return Gate()


def test_flags_follow_from_what_is_overridden() -> None:
    assert [(one.keyed, one.time_varying) for one in (Order, LatestFirst, Ageing, Mixed)] == [
        (False, False),
        (True, False),
        (True, True),
        (True, False),
    ]
    assert [(one.reviews, one.recalls) for one in (Retention, Thinks, Brings)] == [
        (False, False),
        (True, False),
        (False, True),
    ]
    assert [one.gated for one in (Admission, Holds, Starts)] == [False, True, True]


def test_a_key_that_says_nothing_of_a_flag_orders_the_queue() -> None:
    load = {"trace": "swebench", "limit": 20, "arrivals": "poisson:rate=2", "kv_blocks": 2000, "max_turns": 8}
    ours, stock = (cs.run(policy=policy, **load) for policy in (Policy("latest", order=LatestFirst()), "lru"))
    assert ours.summary.policy_activity.reorders > 0
    assert ours.summary.jct_s != stock.summary.jct_s


def test_a_flag_that_agrees_may_stay() -> None:
    assert type("Old", (LatestFirst,), {"keyed": True}).keyed  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("base", "flag", "value", "said"),
    [
        (LatestFirst, "keyed", False, "LatestFirst2.keyed is False, but the class overrides key"),
        (Order, "keyed", True, "Order2.keyed is True, but the class does not override key"),
        (Ageing, "time_varying", False, "overrides next_change_s"),
        (Thinks, "reviews", False, "overrides review"),
        (Brings, "recalls", False, "overrides recall"),
        (Admission, "gated", True, "does not override allows or start"),
    ],
)
def test_a_flag_to_the_contrary_is_refused(base: type, flag: str, value: bool, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        type(f"{base.__name__}2", (base,), {flag: value})
