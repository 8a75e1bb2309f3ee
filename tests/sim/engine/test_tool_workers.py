"""Bounded tool workers, timeouts and failures, against schedules by hand, a queue's recursion and a closed form."""

from __future__ import annotations

import heapq
import math

import numpy as np
import pytest

from continuum_sim.traces.arrivals import Poisson
from continuum_sim.traces.schema import Program, ToolCall, Turn
from continuum_sim.world.tools import ToolConfig, make_tool_config
from support.programs import engine, program, turn
from support.runs import Outcome, simulate
from support.steptimes import constant

both_modes = pytest.mark.parametrize("stepwise", [True, False])


def run(programs: list[Program], tools: ToolConfig, *, stepwise: bool, seed: int = 0) -> Outcome:
    """Run with steps of 1 s and memory for everything: a turn of n outputs ends n seconds after its arrival."""
    return simulate(programs, config=engine(1000), stepwise=stepwise, tools=tools, seed=seed)


def split(outcome: Outcome) -> dict[str, tuple[float, float, float]]:
    """Return (JCT, tool seconds, seconds its tools waited) by program."""
    return {record.program: (record.jct_s, record.tool_s, record.tool_wait_s) for record in outcome.programs}


def two(gap: float, *, other: str = "bash") -> list[Program]:
    """Two programs at time 0 whose first turns end together at 1 s."""
    return [program(name, turn(4, 1, gap=gap, tool=tool), turn(8, 1)) for name, tool in (("a", "bash"), ("b", other))]


@both_modes
def test_one_worker_serves_in_the_order_of_asking(stepwise: bool) -> None:
    outcome = run(two(3.0), make_tool_config(workers=1), stepwise=stepwise)
    # a's tool runs from 1 to 4 s, b's from 4 to 7 s.
    assert split(outcome) == {"a": (5.0, 3.0, 0.0), "b": (8.0, 3.0, 3.0)}
    assert outcome.of("b", 1).arrival_s == 7.0
    totals = outcome.simulation.tools
    assert totals is not None
    assert (totals.totals.calls, totals.totals.waits, totals.totals.wait_s) == (2, 1, 3.0)


@both_modes
def test_a_policy_learns_the_whole_gap_as_an_engine_sees_it(stepwise: bool) -> None:
    outcome = run(two(3.0), make_tool_config(workers=1), stepwise=stepwise)
    assert list(outcome.simulation.scheduler.governor.history.of_tool("bash").values_s) == [3.0, 6.0]


@both_modes
def test_a_tool_with_workers_of_its_own_does_not_wait_for_others(stepwise: bool) -> None:
    for workers, waited_s in (("bash:1", 0.0), ("grep:1,*:1", 0.0), ("*:1", 3.0), ({"bash": 1, "grep": 1}, 0.0)):
        outcome = run(two(3.0, other="grep"), make_tool_config(workers=workers), stepwise=stepwise)
        assert split(outcome)["b"] == (5.0 + waited_s, 3.0, waited_s)


@both_modes
def test_each_of_several_tools_at_once_needs_a_worker(stepwise: bool) -> None:
    calls = (ToolCall("ls", 2.0), ToolCall("cat", 3.0))
    programs = [Program("a", (Turn(4, 0, 1, "ls+cat", 3.0, calls), Turn(8, 5, 1)), 0.0)]
    for workers, end_s, wait_s in ((None, 4.0, 0.0), (2, 4.0, 0.0), (1, 6.0, 2.0), ("cat:1,*:1", 4.0, 0.0)):
        outcome = run(programs, make_tool_config(workers=workers), stepwise=stepwise)
        assert split(outcome) == {"a": (end_s + 1.0, 3.0, wait_s)}
        assert outcome.of("a", 0).tool_s == 3.0


@both_modes
def test_a_call_that_takes_too_long_is_cut_and_tried_again(stepwise: bool) -> None:
    for timeout, retries, gap_s in ((4, 1, 8.0), (4, 0, 4.0), (10, 3, 10.0), ("ls:1", 0, 10.0), ("bash:2.5", 2, 7.5)):
        config = make_tool_config(timeout=timeout, retries=retries)
        outcome = run([program("a", turn(4, 1, gap=10.0), turn(8, 1))], config, stepwise=stepwise)
        assert split(outcome) == {"a": (gap_s + 2.0, gap_s, 0.0)}
        assert outcome.of("a", 0).tool_s == gap_s


@both_modes
def test_a_failed_call_queues_again_behind_the_others(stepwise: bool) -> None:
    config = make_tool_config(workers=1, failure_rate=1.0, retries=1)
    outcome = run(two(2.0), config, stepwise=stepwise)
    # a 1-3, b 3-5, a again 5-7, b again 7-9; then both go on without.
    assert split(outcome) == {"a": (8.0, 4.0, 2.0), "b": (10.0, 4.0, 4.0)}
    runner = outcome.simulation.tools
    assert runner is not None
    totals = runner.totals
    assert (totals.calls, totals.tries, totals.failures, totals.timeouts, totals.given_up) == (2, 4, 4, 0, 2)
    assert (totals.waits, totals.wait_s) == (3, 6.0)


@both_modes
def test_plain_settings_change_nothing(stepwise: bool) -> None:
    programs = two(3.0)
    plain = run(programs, make_tool_config(retries=5), stepwise=stepwise)
    roomy = run(programs, make_tool_config(workers=2, timeout=3, failure_rate=0), stepwise=stepwise)
    without = simulate(programs, config=engine(1000), stepwise=stepwise)
    assert plain.simulation.tools is None
    assert plain.turns == without.turns == roomy.turns
    assert plain.programs == without.programs == roomy.programs


def queue_starts(asked_s: list[float], service_s: list[float], workers: int) -> list[float]:
    """Return starts under first come first served (Kiefer and Wolfowitz): each call takes the server free first."""
    free = [0.0] * workers
    starts = []
    for at_s, seconds in zip(asked_s, service_s, strict=True):
        start_s = max(at_s, heapq.heappop(free))
        heapq.heappush(free, start_s + seconds)
        starts.append(start_s)
    return starts


def poisson_calls(rate: float, count: int, rng: np.random.Generator) -> list[Program]:
    """Return programs with one exponential tool call of mean 1 s between two turns that take hardly any time."""
    tool_s = rng.exponential(1.0, count)
    return [Program(f"p{k}", (Turn(1, 0, 1, "bash", float(s)), Turn(2, 2, 1))) for k, s in enumerate(tool_s)]


@pytest.mark.parametrize("workers", [1, 3])
def test_calls_start_as_in_a_queue_with_so_many_servers(workers: int) -> None:
    programs = poisson_calls(0.9 * workers, 400, np.random.default_rng(1))
    outcome = simulate(
        programs,
        config=engine(5000),
        step_time=constant(1e-6),
        stepwise=False,
        arrivals=Poisson(0.9 * workers),
        tools=make_tool_config(workers=workers),
    )
    firsts = sorted((record.finish_s, record.program, record.tool_s) for record in outcome.turns if record.turn == 0)
    starts = queue_starts([f[0] for f in firsts], [f[2] for f in firsts], workers)
    assert sum(start_s > asked_s for start_s, (asked_s, _, _) in zip(starts, firsts, strict=True)) > 100
    waited = {record.program: record.tool_wait_s for record in outcome.programs}
    for start_s, (asked_s, name, _) in zip(starts, firsts, strict=True):
        assert waited[name] == pytest.approx(start_s - asked_s, abs=1e-6)


@pytest.mark.slow
def test_the_mean_wait_is_erlangs() -> None:
    """M/M/c: mean wait = C(c, a) / (c·µ − λ) with Erlang's C, for c = 3, λ = 1.8, µ = 1."""
    workers, rate = 3, 1.8
    terms = [rate**k / math.factorial(k) for k in range(workers)]
    last = rate**workers / math.factorial(workers) * workers / (workers - rate)
    expected_s = last / (sum(terms) + last) / (workers - rate)
    outcome = simulate(
        poisson_calls(rate, 40_000, np.random.default_rng(2)),
        config=engine(100_000),
        step_time=constant(1e-6),
        stepwise=False,
        arrivals=Poisson(rate),
        tools=make_tool_config(workers=workers),
        seed=3,
    )
    mean_s = np.mean([record.tool_wait_s for record in outcome.programs])
    assert mean_s == pytest.approx(expected_s, rel=0.06)
