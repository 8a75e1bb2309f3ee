from __future__ import annotations

import pytest

from continuum_sim.policies import PolicyError
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed, HandEngine
from support.programs import engine, program, turn
from support.runs import simulate


def thunderagent(capacity: int, settings: str = "") -> Governed:
    """A gate over a KV cache of this many tokens, without a buffer per program."""
    return Governed(f"thunderagent:buffer_tokens=0{settings}", HandEngine(total_blocks=capacity))


def paused(bench: Governed) -> list[str]:
    return [name for name, view in bench.governor.programs.items() if view.paused]


def crowd(bench: Governed) -> None:
    """Two programs with turns of 15 and 50 tokens, and two in tool calls: 30 tokens since 4 s and 20 since 5 s."""
    # All arrive small, so that all start.
    turns = {name: bench.run(name, 0.0, prompt=5) for name in "abcd"}
    bench.end(turns["b"], 4.0, 30)
    bench.end(turns["c"], 5.0, 20)
    for name, context in (("a", 15), ("d", 50)):
        bench.end(turns[name], 4.0, context)
        bench.run(name, 4.5, prompt=context)


@pytest.mark.parametrize(
    ("capacity", "gone"),
    [
        (100, []),  # 15 + 50 + 30/2 + 20 = 100 fits
        (99, ["c"]),  # the smallest in a tool call goes first: 80 are left
        (79, ["b", "c"]),  # then the other one: 65
    ],
)
def test_pauses_tool_calls_smallest_first_with_decayed_weights(capacity: int, gone: list[str]) -> None:
    bench = thunderagent(capacity)
    crowd(bench)
    bench.step(5.0)
    assert paused(bench) == gone


def test_without_decay_an_old_tool_call_weighs_as_much_as_ever() -> None:
    bench = thunderagent(114, ",half_life=1e9")
    crowd(bench)
    bench.step(5.0)  # 115: without 20 still 95
    assert paused(bench) == ["c"]
    bench = thunderagent(94, ",half_life=1e9")
    crowd(bench)
    bench.step(5.0)
    assert paused(bench) == ["b", "c"]


def test_programs_at_work_are_paused_when_their_turn_ends() -> None:
    bench = thunderagent(60)
    crowd(bench)
    bench.step(5.0)  # 65 without those in tool calls: the smaller of the others must go as well
    assert paused(bench) == ["b", "c"]
    working = bench.governor.programs["a"].turn
    assert working is not None
    assert bench.allows(working, 5.0), "the turn under way goes on"
    bench.end(working, 6.0, 45)
    assert paused(bench) == ["a", "b", "c"]
    assert not bench.allows(bench.arrive("a", 6.5, 45), 6.5)


def test_resumes_waiting_turns_then_new_programs_then_tool_calls_smallest_first() -> None:
    bench = thunderagent(100, ",half_life=1e9")
    contexts = {"away": 10, "big": 95, "back-large": 40, "back": 30}
    turns = {name: bench.run(name, 0.0, prompt=1) for name in contexts}
    for name, context in contexts.items():
        bench.end(turns[name], 1.0, context)
    working = bench.run("big", 1.0, prompt=95)
    bench.step(5.0)  # 175: 95 are left when all tool calls are paused
    assert paused(bench) == ["away", "back-large", "back"]
    back, large = bench.arrive("back", 6.0, 30), bench.arrive("back-large", 6.0, 40)
    new = bench.arrive("new", 6.0, 25)
    assert [bench.allows(t, 9.0) for t in (back, large, new)] == [False, False, False]
    bench.end(working, 9.0, last=True)
    assert not bench.allows(back, 9.9), "room is given at ticks"
    bench.step(10.0)  # 100: 30 and 40 of the turns that wait, 25 of the new one, and 10 no longer fit
    assert [bench.allows(t, 10.0) for t in (back, large, new)] == [True, True, True]
    assert paused(bench) == ["away"]


def test_a_new_program_starts_at_once_while_it_fits_and_nobody_waits() -> None:
    bench = thunderagent(100)
    assert bench.allows(bench.arrive("a", 0.0, 60), 0.0)
    assert not bench.allows(bench.arrive("b", 1.0, 50), 1.0)
    assert not bench.allows(bench.arrive("c", 2.0, 10), 2.0), "b is before it"


def test_an_idle_engine_always_resumes_somebody() -> None:
    bench = Governed("thunderagent:buffer_tokens=50", HandEngine(total_blocks=100))
    first = bench.arrive("a", 0.0, 90)  # needs 140 with its buffer, and is alone
    assert bench.allows(first, 0.0)
    second, third = bench.arrive("b", 1.0, 80), bench.arrive("c", 1.0, 90)
    bench.governor.turn_admitted(first, 0, 1.0)
    bench.end(first, 2.0, last=True)
    bench.step(5.0)
    assert [bench.allows(t, 5.0) for t in (second, third)] == [True, False]


def test_thrashing_programs_take_turns_in_a_run() -> None:
    # Four programs of 60 to 86 tokens on 160: two at a time fit. Unchecked, they evict each other at every turn.
    turns = [turn(60 + 4 * i, 2, gap=0.5) for i in range(7)]
    programs = [program(name, *turns, at=0.0) for name in "abcd"]
    settings = "thunderagent:period=1,buffer_tokens=4"
    gated = simulate(programs, settings, config=engine(40))
    free = simulate(programs, "lru", config=engine(40))
    assert len(gated.programs) == 4
    assert gated.totals.counts.holds > 0
    assert sum(t.cached_tokens for t in gated.turns) > 1.5 * sum(t.cached_tokens for t in free.turns)


@pytest.mark.parametrize(
    ("setting", "message"),
    [("period=0", "period is 0.0"), ("buffer_tokens=-1", "buffer_tokens is -1"), ("half_life=0", "half_life is 0.0")],
)
def test_refuses_settings_out_of_range(setting: str, message: str) -> None:
    with pytest.raises(PolicyError, match=message):
        parse_policy(f"thunderagent:{setting}")
