from __future__ import annotations

import pytest

from continuum_sim.policies import PolicyError
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed
from support.programs import engine, program, turn
from support.runs import simulate


def served(bench: Governed, name: str, tokens: int, seconds: float = 100.0) -> None:
    """Finish a turn of this many computed tokens, long before time 1000."""
    bench.end(bench.run(name, 0.0), seconds, computed=tokens)


def test_least_attained_service_first_by_levels() -> None:
    bench = Governed("autellix")
    for name, tokens in (("huge", 40_000), ("large", 9000), ("medium", 8191), ("small", 2048), ("tiny", 2047)):
        served(bench, name, tokens)
    turns = [bench.arrive(name, 1000.0 + i) for i, name in enumerate(["huge", "large", "medium", "small", "tiny"])]
    # Levels 3, 2, 1, 1, 0; the two of level 1 in order of arrival.
    assert bench.order(*turns, at=1010.0) == ["tiny", "medium", "small", "large", "huge"]


def test_a_turn_sinks_as_it_computes() -> None:
    bench = Governed("autellix")
    served(bench, "a", 2000)
    sinking, steady = bench.run("a", 1000.0), bench.run("b", 1000.5)
    assert bench.policy.order.victim([steady, sinking]) == 1, "equal levels: the one admitted last"
    sinking.computed_tokens, steady.computed_tokens = 100, 100
    assert bench.policy.order.victim([sinking, steady]) == 0, "2100 tokens are beyond the first level"
    for preempted in (sinking, steady):
        bench.governor.turn_preempted(preempted, 1001.0)
    newcomer = bench.arrive("c", 1002.0)
    assert bench.order(sinking, steady, newcomer, at=1003.0) == ["b", "c", "a"]


def test_waiting_long_enough_lifts_to_the_top() -> None:
    # Served for 100 s, so with beta = 2 it is promoted after 200 s in the queue, of which it spent 50 before.
    bench = Governed("autellix")
    first = bench.arrive("a", 0.0)
    bench.governor.turn_admitted(first, 0, 50.0)
    bench.end(first, 150.0, computed=40_000)
    starving, fresh = bench.arrive("a", 1000.0), bench.arrive("b", 1001.0)
    assert bench.order(starving, fresh, at=1149.9) == ["b", "a"]
    assert bench.order(starving, fresh, at=1150.0) == ["a", "b"]
    order = bench.policy.order
    assert order.next_change_s(starving, 1100.0) == pytest.approx(1150)
    assert order.next_change_s(starving, 1150.0) == float("inf")


def test_a_program_without_service_yet_overtakes_in_a_run() -> None:
    # One seat. "heavy" has computed 2100 tokens when it comes back at 4 s; "light" arrives after it at 5 s.
    programs = [
        program("heavy", turn(2100, 2, gap=1.0), turn(2110, 2), at=0.0),
        program("busy", turn(8, 7), at=0.5),
        program("light", turn(8, 2), at=5.0),
    ]
    config = engine(1200, budget=4096, seqs=1)
    run = simulate(programs, "autellix:beta=100", config=config)
    assert run.of("light").scheduled_s < run.of("heavy", 1).scheduled_s
    assert run.of("heavy", 1).arrival_s < run.of("light").arrival_s
    # It was served for 2 s; with beta = 1 it is promoted after 2 s of waiting and keeps its turn.
    prompt = simulate(programs, "autellix:beta=1", config=config)
    assert prompt.of("heavy", 1).scheduled_s < prompt.of("light").scheduled_s


def test_refuses_beta_of_zero() -> None:
    with pytest.raises(PolicyError, match="beta is 0.0, expected more than 0"):
        parse_policy("autellix:beta=0")
