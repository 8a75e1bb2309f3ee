from __future__ import annotations

import pytest

from continuum_sim.policies import Fate, PinFor, PolicyError
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed
from support.programs import engine, program, turn
from support.runs import simulate


def test_pins_two_seconds_for_tools_that_are_fast_or_new() -> None:
    bench = Governed("continuum-code")
    bench.remember("edge", 1.0, 3.0)
    bench.remember("slow", 1.0, 3.1)
    decisions = [bench.end(bench.run(tool, 0.0), 1.0, tool=tool) for tool in ("new", "edge", "slow")]
    assert decisions == [PinFor(2.0), PinFor(2.0), Fate.RELEASE]


def test_a_pin_lasts_until_the_next_turn_has_ended() -> None:
    bench = Governed("continuum-code")
    view = bench.live("p", 0.0, 1.0).program
    back = bench.arrive("p", 1.5)
    assert bench.step(9.0) == [], "never while the turn waits"
    assert not bench.governor.turn_admitted(back, 8, 1.6)
    assert view.pin is not None
    bench.governor.turn_preempted(back, 1.8)
    assert bench.step(9.0) == [], "nor while it waits again"
    bench.governor.turn_admitted(back, 8, 1.9)
    assert bench.step(2.5) == [], "it runs, and the pin was made at 1 s"
    bench.end(back, 2.8)
    assert view.pin is not None
    assert view.pin.made_s == 2.8
    counts = bench.governor.counts
    assert (counts.pins_made, counts.pins_hit, counts.pins_expired) == (2, 1, 0)


def test_a_pin_expires_while_the_next_turn_runs() -> None:
    bench = Governed("continuum-code")
    bench.live("p", 0.0, 1.0)
    bench.run("p", 1.5)
    assert bench.step(2.9) == []
    assert bench.governor.next_event_s() == pytest.approx(3.0)
    assert bench.step(3.1) == ["p"]
    assert bench.governor.counts.pins_expired == 0, "it was hit before"


def test_pins_break_only_when_nothing_else_runs_latest_expiry_first() -> None:
    bench = Governed("continuum-code")
    for name, until in (("a", 1.0), ("c", 1.9), ("b", 1.5)):
        bench.live(name, 0.0, until)
    waiting = bench.arrive("head", 2.0)
    bench.engine.num_running = 1
    assert bench.breaks(waiting, 2.0) is None
    bench.engine.num_running = 0
    assert bench.breaks(waiting, 2.0) == "c"
    bench.governor.turn_admitted(waiting, 0, 2.0)
    bench.engine.num_running = 2
    assert bench.breaks(waiting, 2.1) is None, "it runs beside another, which is preempted instead"
    bench.engine.num_running = 1
    assert [bench.breaks(waiting, 2.1) for _ in range(3)] == ["b", "a", None]


def test_the_latest_program_is_preempted_first_wherever_it_stands_in_the_batch() -> None:
    bench = Governed("continuum-code")
    early, late = bench.arrive("early", 0.0), bench.arrive("late", 1.0)
    assert bench.policy.order.victim([late, early]) == 0


def test_growth_preempts_programs_and_leaves_pins_alone_in_a_run() -> None:
    # 16 blocks of 4. "parked" pins 5 full ones at 2 s and is back at 3.9 s; "old" and "new" grow over the rest.
    programs = [
        program("old", turn(8, 40), at=0.0),
        program("parked", turn(20, 2, gap=1.9), turn(24, 30), at=0.0),
        program("new", turn(8, 30), at=0.0),
    ]
    run = simulate(programs, "continuum-code", config=engine(16))
    first = run.events("preempt")[0]
    assert first[2] == "new", "the latest program, though it was admitted before the second turn of another"
    last_in_first_out = simulate(programs, "ttl-static:ttl=2", config=engine(16))
    assert last_in_first_out.events("preempt")[0][2] == "parked"
    assert not run.events("break")


def test_a_preempted_turn_finds_its_pinned_context_again_in_a_run() -> None:
    # 20 blocks of 4. "late" pins 10 full ones at 4 s and comes back at 4.5 s; the two before it grow to 5 blocks each
    # and one more each, so it is preempted at some point. Its new blocks are lost, the pinned ones are not: with
    # nothing else to take, one of the two yields as well.
    programs = [
        program("one", turn(8, 30), at=0.0),
        program("two", turn(8, 30), at=0.0),
        program("late", turn(40, 4, gap=0.5), turn(46, 20), at=0.0),
    ]
    run = simulate(programs, "continuum-code:ttl=90,threshold=90", config=engine(20))
    plain = simulate(programs, "ttl-static:ttl=90", config=engine(20))
    assert run.of("late", 1).preemptions > 0
    assert plain.of("late", 1).preemptions > 0
    admitted = [e.detail["cached_tokens"] for e in run.log if (e.name, e.program, e.turn) == ("admit", "late", 1)]
    assert min(admitted) >= 40
    admitted = [e.detail["cached_tokens"] for e in plain.log if (e.name, e.program, e.turn) == ("admit", "late", 1)]
    assert min(admitted) < 40


def test_a_turn_that_runs_alone_breaks_pins_to_grow_in_a_run() -> None:
    # 12 blocks of 4. "parked" pins 5 full ones, and "grows" needs 9 at its end.
    programs = [
        program("parked", turn(20, 2, gap=60.0), turn(24, 2), at=0.0),
        program("grows", turn(8, 28), at=2.0),
    ]
    run = simulate(programs, "continuum-code:ttl=90", config=engine(12))
    assert [who for _, _, who, _ in run.events("break")] == ["parked"]
    assert run.totals.preemptions == 0


def test_refuses_a_negative_threshold() -> None:
    with pytest.raises(PolicyError, match="threshold is -1"):
        parse_policy("continuum-code:threshold=-1")
