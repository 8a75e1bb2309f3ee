from __future__ import annotations

import pytest

from continuum_sim.policies import PolicyError
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed
from support.programs import engine, program, turn
from support.runs import simulate


def places(bench: Governed, at: float) -> int:
    """Return how many new programs a window with no active program would let in now."""
    names = [f"{at}-{i}" for i in range(60)]
    arrived = [bench.arrive(name, at) for name in names]
    count = 0
    for newcomer in arrived:
        if bench.allows(newcomer, at):
            bench.governor.turn_admitted(newcomer, 0, at)
            count += 1
    for newcomer in arrived:
        bench.governor.program_left(newcomer.program)
    return count


def test_window_shrinks_in_overload_with_hysteresis_and_grows_else() -> None:
    bench = Governed("mars:window=10")
    crowd = [bench.arrive(f"crowd{i}", 0.0) for i in range(40)]
    assert places(bench, 0.0) == 10
    bench.engine.free_blocks = 11  # U = 0.89
    bench.step(5.0)
    assert places(bench, 5.0) == 11
    bench.engine.free_blocks = 10  # U = 0.90: overload
    bench.step(10.0)
    assert places(bench, 10.0) == 7  # 7.7
    bench.engine.free_blocks = 14  # U = 0.86: not clear yet
    bench.step(15.0)
    assert places(bench, 15.0) == 5  # 5.39
    bench.engine.free_blocks = 15  # U = 0.85: clear
    bench.step(20.0)
    assert places(bench, 20.0) == 6  # 6.39
    assert len(crowd) == 40


def test_little_to_prefill_goes_first() -> None:
    bench = Governed("mars")
    prompts = {"whole": (40_000, 0), "warm": (40_000, 39_000), "short": (2_000, 0), "middling": (9_000, 1_000)}
    turns = []
    for at, (name, (prompt, cached)) in enumerate(prompts.items()):
        arrived = bench.arrive(name, float(at), prompt)
        arrived.cached_tokens = cached
        turns.append(arrived)
    # Levels of 40,000, 1000, 2000 and 8000 tokens: 3, 0, 0, 1.
    assert bench.order(*turns, at=9.0) == ["warm", "short", "middling", "whole"]


def test_a_warm_continuation_overtakes_in_a_run() -> None:
    # One seat, taken until 12 s. "cold" waits since 4 s with 3000 tokens to compute, "warm" since 6 s with 10 of
    # 3002, as the engine's cache tells on its arrival.
    programs = [
        program("warm", turn(2990, 3, gap=3.0), turn(3002, 2), at=0.0),
        program("busy", turn(8, 9), at=0.5),
        program("cold", turn(3000, 2), at=4.0),
    ]
    config = engine(3000, budget=4096, seqs=1)
    run = simulate(programs, "mars", config=config)
    assert run.of("warm", 1).arrival_s > run.of("cold").arrival_s
    assert run.of("warm", 1).scheduled_s == 12
    assert run.of("cold").scheduled_s == run.of("warm", 1).finish_s


def test_overload_holds_programs_back_in_a_run() -> None:
    # 6 programs of up to 10 blocks on 30: without the window all start at once and preempt each other.
    programs = [program(f"p{i}", turn(8, 30, gap=2.0), turn(40, 4), at=0.0) for i in range(6)]
    gated = simulate(programs, "mars:window=2,increase=0", config=engine(30))
    free = simulate(programs, "order=remaining-prefill", config=engine(30))
    assert free.totals.preemptions > 0
    assert gated.totals.preemptions == 0
    assert gated.totals.counts.holds > 0


def test_refuses_a_clear_mark_above_overload() -> None:
    with pytest.raises(PolicyError, match="clear is 0.95, expected at most overload"):
        parse_policy("mars:clear=0.95")
