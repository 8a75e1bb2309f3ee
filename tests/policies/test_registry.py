"""Names and parameters of policies, and the errors for wrong ones."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from continuum_sim.policies import PRESETS, Fate, Order, PolicyError, Preset, Retention, find_preset, register_preset
from continuum_sim.policies.planes import Decision
from continuum_sim.policies.registry import (
    PLANES,
    RETENTIONS,
    check_names,
    find_plane,
    make_plane,
    register_order,
    register_retention,
)
from continuum_sim.policies.rules.ttl import Ttl
from continuum_sim.policies.rules.ttl_static import TtlStatic
from continuum_sim.policies.views import Moment, ProgramView
from support.rules import registered


@pytest.fixture
def undo() -> Iterator[None]:
    """Undo what the test registers."""
    with registered():
        yield


def test_the_stock_presets_are_there() -> None:
    stock = {"fcfs", "lru", "program-fifo", "ttl-static", "ttl", "pin-forever", "oracle-ttl"}
    assert stock <= PRESETS.keys()
    assert all(name == preset.name for name, preset in PRESETS.items())


@pytest.mark.parametrize(
    ("wrong", "near"), [("tttl", "ttl"), ("program-fifi", "program-fifo"), ("LRU", "lru"), ("zzzzzz", None)]
)
def test_an_unknown_policy_is_refused_with_the_nearest_name(wrong: str, near: str | None) -> None:
    with pytest.raises(PolicyError) as caught:
        find_preset(wrong)
    message = str(caught.value)
    assert message.startswith(f"unknown policy {wrong!r}")
    assert ("did you mean" in message) == (near is not None)
    assert near is None or f"did you mean {near!r}?" in message
    assert "lru" in message
    assert "\n" not in message


def test_an_unknown_parameter_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(
        PolicyError, match=re.escape("unknown parameter 'presure' of policy ttl, did you mean 'pressure'? known: ")
    ):
        find_preset("ttl").build(presure="head")
    with pytest.raises(PolicyError, match=re.escape("unknown parameter 'ttl' of policy lru; known: none")):
        find_preset("lru").build(ttl=2)


def test_settings_reach_the_planes_and_the_name() -> None:
    policy = find_preset("ttl-static").build(ttl=3.5, pressure="head")
    assert policy.name == "ttl-static:ttl=3.5,pressure=head"
    assert policy.retention == TtlStatic(3.5, pressure="head")
    assert find_preset("ttl-static").build().name == "ttl-static"
    described = policy.describe()
    assert described["name"] == "ttl-static:ttl=3.5,pressure=head"
    assert (described["order"], described["admission"]) == ("PinnedFirst()", "Admission()")
    assert described["retention"] == repr(TtlStatic(3.5, pressure="head"))


def test_parameters_say_what_they_are() -> None:
    parameters = {p.name: p for p in find_preset("ttl-static").parameters}
    assert parameters.keys() == {"ttl", "pressure"}
    assert parameters["ttl"].default == 2.0
    assert parameters["ttl"].type == "float"
    assert "seconds" in parameters["ttl"].help
    assert parameters["pressure"].default == "deadlock"


def test_planes_are_found_by_name() -> None:
    assert find_plane("retention", "ttl") is Ttl
    with pytest.raises(PolicyError, match="unknown plane 'retentoin', did you mean 'retention'"):
        find_plane("retentoin", "ttl")
    with pytest.raises(PolicyError, match="unknown retention 'ttl-statik', did you mean 'ttl-static'"):
        find_plane("retention", "ttl-statik")
    assert make_plane(TtlStatic, {"ttl": 1.0, "of another plane": 3}) == TtlStatic(1.0)


def test_two_rules_may_not_share_a_name(undo: None) -> None:
    with pytest.raises(PolicyError, match="'lru' is registered twice"):
        register_preset(Preset("lru", "mine", "here"))
    with pytest.raises(PolicyError, match="'arrival' is registered twice"):
        register_order("arrival")(type("Mine", (Order,), {}))


def test_a_preset_of_ones_own(undo: None) -> None:
    @register_retention("keep-long")
    @dataclass(frozen=True)
    class KeepLong(Retention):
        """Keeps long contexts, forgets short ones."""

        least: int = field(default=1000, metadata={"help": "tokens from which a context is kept"})

        def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
            return Fate.RELEASE if program.context_tokens >= self.least else Fate.EVICT

    register_preset(Preset("keep-long", rule="Keeps long contexts.", source="this test", retention=KeepLong))
    assert find_plane("retention", "keep-long") is KeepLong
    policy = find_preset("keep-long").build(least=5)
    assert policy.retention == KeepLong(5)
    assert [p.name for p in find_preset("keep-long").parameters] == ["least"]


def test_what_a_test_registers_goes_with_it() -> None:
    mine, known = type("Mine", (Order,), {}), (set(PRESETS), set(PLANES["order"]))

    def failing_test() -> None:
        with registered(order={"mine": mine}):
            assert find_plane("order", "mine") is mine
            register_preset(Preset("mine", "arrival", "here", order=mine))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        failing_test()
    assert (set(PRESETS), set(PLANES["order"])) == known
    assert "lru" in PRESETS


def test_check_names_names_the_first_stranger() -> None:
    check_names([], [], "thing", error=PolicyError)
    check_names(["a"], ["a", "b"], "thing", error=PolicyError)
    with pytest.raises(PolicyError, match="unknown thing 'c' of ours; known: b, a"):
        check_names(["a", "c", "d"], ["b", "a"], "thing", of="ours", error=PolicyError)


def test_a_notebook_may_run_its_cell_again(undo: None) -> None:
    def cell(module: str) -> None:
        @dataclass(frozen=True)
        class Mine(Retention):
            """Releases."""

        Mine.__module__ = module
        register_retention("mine")(Mine)
        register_preset(Preset("mine", "releases", "here", retention=Mine))

    cell("__main__")
    first = PRESETS["mine"].retention
    cell("__main__")
    assert PRESETS["mine"].retention is RETENTIONS["mine"] is not first
    with pytest.raises(PolicyError, match="'mine' is registered twice"):
        cell("somebody.else")
