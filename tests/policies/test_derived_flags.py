"""What the host asks a rule follows from the methods it overrides: no override is ever ignored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim.policies import Admission, Gate, Order, Policy, PolicyError, Retention, Review
from continuum_sim.policies.views import Moment, ProgramView, TurnView
from support.cli import refused


@dataclass(frozen=True)
class LatestFirst(Order):
    """The youngest program first, without setting any flag."""

    def key(self, turn: TurnView, now_s: float) -> float:
        return -turn.program.arrival_s


@dataclass(frozen=True)
class Ageing(LatestFirst):
    def next_change_s(self, turn: TurnView, now_s: float) -> float:
        return now_s + 1.0


class Keyed:
    """A method that comes from a mix-in."""

    def key(self, turn: TurnView, now_s: float) -> int:
        return 0


@dataclass(frozen=True)
class Mixed(Keyed, Order):
    pass


@dataclass(frozen=True)
class Thinks(Retention):
    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        return Review((), 1.0)


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
    assert [one.reviews for one in (Retention, Thinks)] == [False, True]
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
        (Admission, "gated", True, "does not override allows or start"),
    ],
)
def test_a_flag_to_the_contrary_is_refused(base: type, flag: str, value: bool, said: str) -> None:
    with pytest.raises(PolicyError, match=said):
        type(f"{base.__name__}2", (base,), {flag: value})


# Policies written for version 0.1 -----------------------------------------------------------------------------------


def test_a_recall_is_told_where_it_went() -> None:
    with pytest.raises(PolicyError, match=r"Old\.recall is part of review now: set recalls = True and answer from"):
        type("Old", (Retention,), {"recall": lambda self, away, moment: None})
    with pytest.raises(ImportError, match="there is no Recall any more: set Retention.recalls"):
        exec("from continuum_sim.policies import Recall")
    with pytest.raises(ImportError, match="there is no Recall any more"):
        exec("from continuum_sim.policies.planes import Recall")


def test_a_review_without_what_is_away_is_told_what_to_take() -> None:
    with pytest.raises(PolicyError, match=r"expected \(self, pinned, away, moment\)"):
        type("Old", (Retention,), {"review": lambda self, pinned, moment: Review()})


def test_a_policy_of_somebody_else_is_told_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "pins_of_old.py").write_text("from continuum_sim.policies.pressure import YieldingPins\n")
    monkeypatch.syspath_prepend(tmp_path)
    said = refused(capsys, "run", "--policy", "pins_of_old:Pins").rstrip()
    assert said.endswith("parts.pressure now; import what a policy needs from continuum_sim.policies itself")


@pytest.mark.parametrize(("module", "room"), [("pressure", "parts"), ("ttl", "rules"), ("governor", "host")])
def test_a_module_that_moved_is_named_with_its_place(module: str, room: str) -> None:
    place = f"continuum_sim.policies.{room}.{module} now"
    with pytest.raises(ModuleNotFoundError, match=place):
        import_module(f"continuum_sim.policies.{module}")
    with pytest.raises(ModuleNotFoundError, match="No module named 'continuum_sim.policies.never'"):
        import_module("continuum_sim.policies.never")
