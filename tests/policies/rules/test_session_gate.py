from __future__ import annotations

import pytest

from continuum_sim.policies import PolicyError
from continuum_sim.policies.parts.window import Window
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed
from support.programs import engine, program, turn
from support.runs import simulate


def test_holds_a_newcomer_until_a_program_ends() -> None:
    bench = Governed("session-gate:limit=2")
    first, second = bench.run("a", 0.0), bench.run("b", 0.0)
    third = bench.arrive("c", 0.0)
    assert not bench.allows(third, 1.0)
    bench.end(first, 2.0)
    assert not bench.allows(third, 2.0), "a tool call keeps its place"
    assert bench.allows(bench.arrive("a", 3.0), 3.0), "an active program is never held"
    bench.end(second, 4.0, last=True)
    assert bench.allows(third, 4.0)
    assert bench.governor.counts.holds == 1, "a turn held is counted once"


def test_a_place_is_taken_on_admission_not_on_asking() -> None:
    bench = Governed("session-gate:limit=1")
    first, second = bench.arrive("a", 0.0), bench.arrive("b", 0.0)
    assert bench.allows(first, 0.0)
    assert bench.allows(second, 0.0)
    bench.governor.turn_admitted(second, 0, 0.0)
    assert not bench.allows(first, 0.0)


def test_a_program_that_vanishes_gives_its_place_back() -> None:
    bench = Governed("session-gate:limit=1")
    gone = bench.live("a", 0.0, 1.0)
    waiting = bench.arrive("b", 1.0)
    assert not bench.allows(waiting, 1.0)
    bench.governor.program_left(gone.program)
    assert bench.allows(waiting, 1.0)


def test_a_window_that_shrank_takes_places_back_between_turns() -> None:
    window = Window(2)
    bench = Governed("session-gate:limit=2")
    turns = [bench.run(name, 0.0) for name in "ab"]
    moment = bench.governor._moment(0.0)
    for running in turns:
        window.turn_admitted(running, 0, moment)
    window.shrink(0.4)
    assert window.size == 1, "never less than one place"
    assert all(window.allows(running, moment) for running in turns), "nobody is stopped in the middle of a turn"
    window.turn_ended(turns[0].program, moment)
    assert [window.allows(running, moment) for running in turns] == [False, True]
    window.turn_ended(turns[1].program, moment)
    assert window.allows(turns[1], moment), "the last one stays"
    window.grow(5, programs=3)
    assert window.size == 3, "no wider than there are programs"


def test_programs_run_one_after_the_other_in_a_run() -> None:
    two_turns = (turn(8, 2, gap=3.0), turn(14, 2))
    programs = [program(name, *two_turns, at=0.0) for name in "ab"]
    run = simulate(programs, "session-gate:limit=1", config=engine(50))
    assert run.of("b", 0).scheduled_s == run.of("a", 1).finish_s
    assert run.totals.counts.holds == 1
    free = simulate(programs, "program-fifo", config=engine(50))
    assert free.of("b", 0).scheduled_s == 0


def test_refuses_an_empty_window() -> None:
    with pytest.raises(PolicyError, match="limit is 0, expected at least 1"):
        parse_policy("session-gate:limit=0")
