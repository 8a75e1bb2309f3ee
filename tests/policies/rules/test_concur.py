from __future__ import annotations

import pytest

from continuum_sim.policies import PolicyError
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed
from support.programs import engine, program, turn
from support.runs import simulate


def admitted(bench: Governed, names: str, at: float) -> list[str]:
    """Start a turn of every program that gets a place; return their names."""
    started = []
    for name in names:
        arrived = bench.arrive(name, at)
        if bench.allows(arrived, at):
            bench.governor.turn_admitted(arrived, 0, at)
            started.append(name)
    return started


def test_grows_by_two_while_memory_is_idle() -> None:
    bench = Governed("concur:window=1")
    assert admitted(bench, "abcdef", 0.0) == ["a"]
    bench.engine.free_blocks = 81  # U = 0.19
    bench.step(4.9)
    assert not bench.allows(bench.arrive("g", 4.9), 4.9), "not before the period is over"
    bench.step(5.0)
    assert admitted(bench, "hijkl", 5.0) == ["h", "i"]
    bench.engine.free_blocks = 80  # U = 0.2 is not idle
    bench.step(10.0)
    assert admitted(bench, "mn", 10.0) == []


@pytest.mark.parametrize(
    ("free", "cached", "left"),
    [
        (49, 19, ["a"]),  # U = 0.51 and H = 0.19: congestion halves the window of 2
        (50, 19, ["a", "b"]),  # U = 0.5 is not congestion
        (49, 20, ["a", "b"]),  # nor is H = 0.2
    ],
)
def test_halves_under_congestion_between_turns(free: int, cached: int, left: list[str]) -> None:
    bench = Governed("concur:window=2")
    turns = {name: bench.run(name, 0.0, prompt=100, cached=cached) for name in "ab"}
    bench.engine.free_blocks = free
    bench.step(5.0)
    assert all(bench.allows(running, 5.0) for running in turns.values()), "a turn under way is not stopped"
    bench.end(turns["b"], 6.0)
    bench.end(turns["a"], 6.0)
    assert [n for n in "ab" if bench.allows(bench.arrive(n, 7.0), 7.0)] == left


def test_hit_rates_are_of_the_latest_period() -> None:
    bench = Governed("concur:window=4")
    turns = [bench.run(name, 0.0, prompt=100, cached=0) for name in "abcd"]
    bench.engine.free_blocks = 60
    bench.step(5.0)  # U = 0.4: no congestion, and the misses are forgotten
    bench.engine.free_blocks = 10
    bench.step(10.0)  # U = 0.9, but nothing was admitted: no evidence
    for running in turns:
        bench.end(running, 11.0)
    assert all(bench.allows(bench.arrive(name, 12.0), 12.0) for name in "abcd")


def test_thrashing_programs_are_thinned_out_in_a_run() -> None:
    # Four programs of 13 to 16 blocks in turns on 40: together they evict each other at every turn.
    turns = [turn(50 + 4 * i, 2, gap=1.0) for i in range(8)]
    programs = [program(name, *turns, at=i * 0.25) for i, name in enumerate("abcd")]
    settings = "concur:window=4,period=2,low=0.01,high=0.5,hit_rate=0.5"
    gated = simulate(programs, settings, config=engine(40))
    free = simulate(programs, "lru", config=engine(40))
    assert gated.totals.counts.holds > 0
    assert sum(t.cached_tokens for t in gated.turns) > 2 * sum(t.cached_tokens for t in free.turns)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("window=0", "window is 0"),
        ("low=1.5", "low is 1.5, expected a share"),
        ("period=0", "period is 0.0"),
        ("increase=-1", "increase is -1.0"),
    ],
)
def test_refuses_settings_out_of_range(setting: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse_policy(f"concur:{setting}")
