"""The host-neutral half of running a policy: what it learns from events, and the life of a pin."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from continuum_sim.policies import Decision, Fate, PinFor, Policy, Retention
from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.host.pins import PinLedger
from continuum_sim.policies.views import Moment, ProgramView
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed, HandContexts, HandEngine


def governed(spec: str = "ttl-static:ttl=5") -> Governed:
    return Governed(spec)


# What is learnt ---------------------------------------------------------------------------------------------------


def test_a_gap_is_what_the_server_sees_of_it() -> None:
    bench = governed()
    bench.end(bench.run("p", 0.0), 10.0, tool="ls")
    bench.arrive("p", 12.5)
    assert bench.governor.history.of_tool("ls").mean_s() == pytest.approx(2.5)
    assert len(bench.governor.history.all_tools) == 1


def test_only_turns_that_came_back_unpinned_teach_the_mean_wait() -> None:
    bench = governed("ttl-static:ttl=5")
    history = bench.governor.history
    first = bench.arrive("p", 0.0)
    bench.governor.turn_admitted(first, 0, 7.0)
    assert history.mean_wait_s() == 0.0, "first turns are not comebacks"
    bench.end(first, 10.0)
    pinned = bench.arrive("p", 12.0)
    assert pinned.arrived_pinned
    bench.governor.turn_admitted(pinned, 0, 15.0)
    assert history.mean_wait_s() == 0.0, "it had its pin"
    bench.end(pinned, 20.0)
    assert bench.step(26.0) == ["p"]
    late = bench.arrive("p", 30.0)
    assert not late.arrived_pinned
    bench.governor.turn_admitted(late, 0, 34.0)
    assert history.mean_wait_s() == pytest.approx(4.0)
    bench.governor.turn_preempted(late, 35.0)
    bench.governor.turn_admitted(late, 0, 95.0)
    assert history.mean_wait_s() == pytest.approx(4.0), "a turn waits for its first scheduling once"


def test_finished_programs_teach_their_length() -> None:
    bench = governed()
    for name, turns in (("p", 3), ("q", 1)):
        for index in range(turns):
            bench.end(bench.run(name, float(index)), index + 0.5, last=index == turns - 1)
    counts = bench.governor.history.turn_counts
    assert counts.eta() < 1.0, "two lengths were seen"
    assert bench.governor.programs == {}


def test_views_follow_the_program() -> None:
    bench = governed()
    turn = bench.run("p", 1.0, prompt=30)
    assert (turn.index, turn.prompt_tokens, turn.program.seq) == (0, 30, 0)
    bench.end(turn, 4.0, context=35, computed=35)
    view = turn.program
    assert (view.turns_done, view.context_tokens, view.attained_tokens) == (1, 35, 35)
    assert (view.last_tool, view.turn_end_s, view.arrival_s) == ("ls", 4.0, 1.0)
    second = bench.run("p", 6.0, prompt=40)
    assert second.index == 1
    assert view.turn_end_s is None
    bench.end(second, 7.0, context=44, computed=9)
    assert (view.turns_done, view.context_tokens, view.attained_tokens) == (2, 44, 44)
    assert bench.run("q", 8.0).program.seq == 1


# The life of a pin -------------------------------------------------------------------------------------------------


def test_a_pin_expires_after_its_time_and_counts_what_it_held() -> None:
    bench = governed()
    assert bench.end(bench.run("p", 0.0), 10.0, blocks=8) == PinFor(5.0)
    assert bench.governor.next_event_s() == pytest.approx(15.0)
    assert bench.step(14.9) == []
    assert bench.step(15.0) == [], "a turn that comes back at this very instant still finds it"
    assert bench.step(15.1) == ["p"]
    assert bench.governor.next_event_s() == math.inf
    counts = bench.governor.counts
    assert (counts.pins_made, counts.pins_expired, counts.pins_hit, counts.pins_broken) == (1, 1, 0, 0)
    assert counts.pinned_block_seconds == pytest.approx(8 * 5.1)


def test_a_pin_does_not_expire_while_its_turn_waits() -> None:
    bench = governed()
    bench.end(bench.run("p", 0.0), 10.0, blocks=8)
    turn = bench.arrive("p", 14.0)
    assert bench.governor.next_event_s() == math.inf
    assert bench.step(100.0) == []
    bench.governor.turn_admitted(turn, 5, 101.0)
    assert turn.program.pin is None
    assert bench.governor.counts.pins_hit == 1
    assert bench.governor.counts.pinned_block_seconds == pytest.approx(8 * 91.0)


def test_a_shrunk_pin_counts_less_from_then_on() -> None:
    bench = governed("pin-forever")
    bench.end(bench.run("p", 0.0), 10.0, blocks=8)
    turn = bench.arrive("p", 12.0)
    bench.governor.pins.shrink(turn.program, 3, 12.0)
    bench.governor.turn_admitted(turn, 5, 20.0)
    assert bench.governor.counts.pinned_block_seconds == pytest.approx(8 * 2.0 + 3 * 8.0)


def test_pins_without_expiry_never_wake_the_engine() -> None:
    bench = governed("pin-forever")
    assert bench.end(bench.run("p", 0.0), 10.0) == PinFor(math.inf)
    assert bench.governor.next_event_s() == math.inf
    assert bench.step(1e9) == []


def test_a_ttl_of_zero_pins_nothing() -> None:
    bench = governed("ttl-static:ttl=0")
    assert bench.end(bench.run("p", 0.0), 10.0) is Fate.RELEASE
    assert bench.governor.counts.pins_made == 0
    assert not bench.governor.has_pins


def test_pins_expire_in_the_order_of_their_times() -> None:
    bench = governed("ttl-static:ttl=5")
    for name, end_s in (("a", 3.0), ("b", 1.0), ("c", 2.0)):
        bench.end(bench.run(name, 0.0), end_s)
    assert bench.step(7.5) == ["b", "c"]
    assert bench.step(9.0) == ["a"]


# Pressure ----------------------------------------------------------------------------------------------------------


def crowd(pressure: str) -> Governed:
    """Programs a, b, c and d, in order of arrival, all pinned."""
    bench = Governed(f"pin-forever:pressure={pressure}", HandEngine(num_running=1))
    for at, name in enumerate("abcd"):
        bench.end(bench.run(name, float(at)), at + 0.5)
    return bench


def test_head_breaks_pins_whenever_the_head_does_not_fit() -> None:
    bench = crowd("head")
    newcomer = bench.arrive("n", 10.0)
    assert [bench.breaks(newcomer, 10.0) for _ in range(5)] == ["d", "c", "b", "a", None]
    assert bench.governor.counts.pins_broken == 4


def test_deadlock_breaks_pins_only_when_nothing_runs() -> None:
    bench = crowd("deadlock")
    newcomer = bench.arrive("n", 10.0)
    assert bench.breaks(newcomer, 10.0) is None
    bench.engine.num_running = 0
    assert bench.breaks(newcomer, 10.0) == "d"


def test_younger_lets_no_newcomer_displace_an_older_program() -> None:
    bench = crowd("younger")
    newcomer = bench.arrive("n", 10.0)
    assert bench.breaks(newcomer, 10.0) is None
    returning = bench.arrive("b", 11.0)
    assert [bench.breaks(returning, 11.0) for _ in range(3)] == ["d", "c", None]
    bench.engine.num_running = 0
    assert bench.breaks(returning, 11.0) == "a", "an older pin yields when nothing runs"


@pytest.mark.parametrize("pressure", ["head", "deadlock", "younger"])
def test_the_heads_own_pin_goes_last_and_only_when_nothing_runs(pressure: str) -> None:
    bench = crowd(pressure)
    bench.engine.num_running = 0
    head = bench.arrive("d", 10.0)
    assert [bench.breaks(head, 10.0) for _ in range(3)] == ["c", "b", "a"]
    bench.engine.num_running = 1
    assert bench.breaks(head, 10.0) is None
    bench.engine.num_running = 0
    assert bench.breaks(head, 10.0) == "d"
    assert bench.breaks(head, 10.0) is None


@dataclass(frozen=True)
class Stubborn(Retention):
    """Pins and never yields."""

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        return PinFor(60.0)


def test_a_policy_that_refuses_is_overruled_when_nothing_runs() -> None:
    # An engine that neither runs nor admits anything would be stuck forever.
    bench = Governed(Policy("stubborn", retention=Stubborn()), HandEngine(num_running=1))
    for name in "pq":
        assert bench.end(bench.run(name, 0.0), 1.0) == PinFor(60.0)
    head = bench.arrive("n", 2.0)
    assert bench.breaks(head, 2.0) is None
    bench.engine.num_running = 0
    assert bench.breaks(head, 2.0) == "q"


# The log -----------------------------------------------------------------------------------------------------------


def test_every_decision_is_logged() -> None:
    lines: list[tuple[float, str, int, str, dict[str, Any]]] = []
    governor = Governor(
        parse_policy("ttl-static:ttl=5,pressure=head"),
        HandEngine(),
        PinLedger(HandContexts()),
        lambda *line: lines.append(line),
    )
    first = governor.turn_arrived("p", 10, 1.0)
    governor.turn_admitted(first, 4, 2.0)
    governor.turn_preempted(first, 3.0)
    governor.turn_admitted(first, 8, 4.0)
    ended = {"context_tokens": 12, "computed_tokens": 8, "blocks": 3}
    governor.turn_ended(first, tool="ls", last=False, now_s=5.0, **ended)
    governor.pins.start(first.program, 5.0, 3, 5.0)
    head = governor.turn_arrived("q", 10, 6.0)
    governor.pin_to_break(head, 6.0)
    governor.turn_ended(head, tool="cat", last=False, now_s=7.0, **ended)
    governor.pins.start(head.program, 5.0, 3, 7.0)
    governor.begin_step(13.0)
    governor.turn_ended(governor.turn_arrived("q", 20, 14.0), tool=None, last=True, now_s=15.0, **ended)
    assert lines == [
        (1.0, "p", 0, "arrive", {"prompt_tokens": 10}),
        (2.0, "p", 0, "admit", {"cached_tokens": 4}),
        (3.0, "p", 0, "preempt", {}),
        (4.0, "p", 0, "admit", {"cached_tokens": 8}),
        (5.0, "p", 0, "pin", {"last": False, "tool": "ls", "ttl_s": 5.0}),
        (6.0, "q", 0, "arrive", {"prompt_tokens": 10}),
        (6.0, "p", 0, "break", {"for": "q"}),
        (7.0, "q", 0, "pin", {"last": False, "tool": "cat", "ttl_s": 5.0}),
        (13.0, "q", 0, "expire", {}),
        (14.0, "q", 1, "arrive", {"prompt_tokens": 20}),
        (15.0, "q", 1, "release", {"last": True, "tool": None}),
    ]
