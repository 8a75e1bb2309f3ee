"""`lru`, `fcfs`, `program-fifo`, `ttl-static`, `pin-forever`, `oracle-ttl`: decisions worked out by hand."""

from __future__ import annotations

import math

import pytest

from continuum_sim.policies import Fate, Order, PinFor, PolicyError, find_preset
from continuum_sim.policies.parts.pressure import YieldingPins
from continuum_sim.policies.rules.ttl_static import PinForever, TtlStatic
from continuum_sim.policies.views import Foresight
from support.governed import Governed, HandEngine


def test_lru_changes_nothing_of_vllm() -> None:
    policy = find_preset("lru").build()
    assert not policy.order.keyed
    assert not policy.admission.gated
    bench = Governed(policy)
    assert bench.end(bench.run("p", 0.0), 1.0) is Fate.RELEASE
    assert bench.end(bench.run("p", 2.0), 3.0, last=True) is Fate.RELEASE


def test_fcfs_forgets_every_turn() -> None:
    bench = Governed("fcfs")
    assert not bench.policy.order.keyed
    assert bench.end(bench.run("p", 0.0), 1.0) is Fate.EVICT
    assert bench.end(bench.run("p", 2.0), 3.0, last=True) is Fate.EVICT
    assert bench.governor.counts.evictions == 2


def test_by_default_the_turn_admitted_last_is_preempted() -> None:
    bench = Governed("lru")
    running = [bench.run(name, 0.0) for name in "abc"]
    assert Order().victim(running) == 2


def test_program_fifo_orders_by_the_programs_arrival() -> None:
    bench = Governed("program-fifo")
    a, b, c = (bench.run(name, at) for name, at in (("a", 0.0), ("b", 1.0), ("c", 1.0)))
    for turn in (a, b, c):
        bench.end(turn, 5.0)
    late_a, late_c, late_b = bench.arrive("a", 9.0), bench.arrive("c", 6.0), bench.arrive("b", 7.0)
    assert bench.order(late_c, late_b, late_a, at=10.0) == ["a", "b", "c"], "b and c arrived together, b was seen first"


def test_program_fifo_lets_preempted_turns_go_first() -> None:
    bench = Governed("program-fifo")
    old, young = bench.arrive("old", 0.0), bench.run("young", 1.0)
    bench.governor.turn_preempted(young, 2.0)
    assert bench.order(old, young, at=3.0) == ["young", "old"]
    bench.governor.turn_admitted(young, 0, 4.0)
    assert not young.preempted


def test_pinned_first_puts_live_pins_between_the_two() -> None:
    bench = Governed("ttl-static:ttl=5")
    oldest = bench.run("oldest", 0.0)
    pinned = bench.run("pinned", 1.0)
    preempted = bench.run("preempted", 2.0)
    bench.end(oldest, 3.0, blocks=0)  # too short to be pinned
    bench.end(pinned, 3.0)
    bench.governor.turn_preempted(preempted, 3.0)
    waiting = [bench.arrive("oldest", 4.0), bench.arrive("pinned", 4.0), preempted]
    assert bench.order(*waiting, at=4.0) == ["preempted", "pinned", "oldest"]
    bench.engine.num_running = 0
    assert bench.breaks(waiting[0], 4.0) == "pinned"
    assert bench.order(*waiting, at=4.0) == ["preempted", "oldest", "pinned"]


@pytest.mark.parametrize("ttl", [0.25, 2.0, 3600.0])
def test_ttl_static_pins_every_gap_alike(ttl: float) -> None:
    bench = Governed(f"ttl-static:ttl={ttl}")
    bench.remember("slow", *[100.0] * 200)
    for tool, context in (("ls", 10), ("slow", 10_000)):
        assert bench.end(bench.run(f"p-{tool}", 0.0), 1.0, context, tool=tool) == PinFor(ttl)


def test_pin_forever_has_no_expiry() -> None:
    assert isinstance(PinForever(), YieldingPins)
    bench = Governed("pin-forever")
    assert bench.end(bench.run("p", 0.0), 1.0) == PinFor(math.inf)


@pytest.mark.parametrize("ttl", [-1.0, math.nan, math.inf])
def test_ttl_static_refuses_what_is_no_length_of_time(ttl: float) -> None:
    with pytest.raises(PolicyError, match=f"ttl is {ttl}"):
        TtlStatic(ttl)


def test_an_unknown_pressure_rule_is_refused() -> None:
    with pytest.raises(PolicyError, match="pressure is 'gentle', expected one of head, deadlock, younger"):
        TtlStatic(2.0, pressure="gentle")  # type: ignore[arg-type]


def foresee(gap_s: float) -> Foresight:
    return Foresight(gap_s, 1, 10)


def test_oracle_ttl_pins_exactly_the_gap_when_it_is_worth_it() -> None:
    # R(300) = 3 s and no waits yet: gaps below 3 s are worth a pin.
    bench = Governed("oracle-ttl", HandEngine(per_token_s=0.01))
    assert bench.policy.oracle
    assert bench.end(bench.run("p", 0.0), 1.0, 300, foresight=foresee(2.5)) == PinFor(2.5)
    assert bench.end(bench.run("q", 0.0), 1.0, 300, foresight=foresee(3.0)) is Fate.RELEASE
    assert bench.end(bench.run("r", 0.0), 1.0, 300) is Fate.RELEASE, "without foresight it dares nothing"


def test_oracle_ttl_weighs_the_wait_by_eta_as_ttl_does() -> None:
    bench = Governed("oracle-ttl", HandEngine(per_token_s=0.0))
    history = bench.governor.history
    history.unpinned_turn_waited(10.0)
    for turns in (1, 1, 1, 4):
        history.turn_counts.add(turns)
    worth_s = 10.0 * history.turn_counts.eta()
    assert bench.end(bench.run("p", 0.0), 1.0, foresight=foresee(worth_s - 0.01)) == PinFor(worth_s - 0.01)
    assert bench.end(bench.run("q", 0.0), 1.0, foresight=foresee(worth_s + 0.01)) is Fate.RELEASE
