"""The engine against formulas: single programs, queueing theory and conservation laws."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.traces.arrivals import Burst, Closed, Poisson
from continuum_sim.traces.schema import Program
from support.programs import engine, program, turn
from support.runs import Outcome, simulate
from support.steptimes import affine, constant
from support.strategies import cases, traces

C0_S, TOKEN_S, CONTEXT_S, PAIR_S = 0.0117, 3.1e-4, 7.3e-7, 1.9e-8
"""Coefficients of `affine()`: per step, scheduled token, decode context token and prefill pair."""


def turn_alone_s(prompt: int, output: int, cached: int, budget: int) -> float:
    """Return the seconds of a turn alone on the engine: its prompt in chunks, then a step per further token."""
    steps_s = []
    at = cached
    while at < prompt:
        chunk = min(budget, prompt - at)
        pairs = sum(range(at + 1, at + chunk + 1))
        steps_s.append(C0_S + TOKEN_S * chunk + PAIR_S * pairs)
        at += chunk
    steps_s += [C0_S + TOKEN_S + CONTEXT_S * (prompt + k) for k in range(1, output)]
    return math.fsum(steps_s)


@settings(max_examples=8)
@given(
    programs=traces(),
    budget=st.integers(1, 64),
    block_size=st.sampled_from([1, 4, 16]),
    policy=st.sampled_from(["fcfs", "lru", "program-fifo", "ttl", "ttl-static", "pin-forever", "oracle-ttl"]),
    stepwise=st.booleans(),
)
def test_a_program_alone_takes_the_sum_of_its_steps(
    programs: list[Program], budget: int, block_size: int, policy: str, stepwise: bool
) -> None:
    only = Program("only", programs[-1].turns, 1.25)
    config = engine(2 * only.total_tokens, block_size=block_size, budget=budget)
    outcome = simulate([only], policy, config=config, step_time=affine(), stepwise=stepwise)
    expected_s = 0.0
    computed = 0
    for turn_ in only.turns:
        usable = 0 if policy == "fcfs" else min(turn_.kept_tokens, computed, turn_.input_tokens - 1)
        cached = usable // block_size * block_size
        expected_s += turn_alone_s(turn_.input_tokens, turn_.output_tokens, cached, budget) + turn_.tool_s
        computed = turn_.context_tokens - 1
    [record] = outcome.programs
    assert record.jct_s == pytest.approx(expected_s, rel=1e-9)
    assert record.queue_s == pytest.approx(0.0, abs=1e-9)


def single_turn_load(outputs: np.ndarray, rate: float, *, step_s: float, seed: int) -> Outcome:  # type: ignore[type-arg]
    """Run programs of one turn, served one at a time: a queue whose service takes one step per output token."""
    programs = (program(f"p{i}", turn(8, int(n)), at=0.0) for i, n in enumerate(outputs))
    config = engine(100_000, budget=8, seqs=1, max_model_len=1_000_000)
    arrivals = Poisson(rate=rate)
    return simulate(
        programs, "fcfs", config=config, step_time=constant(step_s), arrivals=arrivals, seed=seed, stepwise=False
    )


def mean_and_error(values: np.ndarray, batches: int = 25) -> tuple[float, float]:  # type: ignore[type-arg]
    """Return the mean of a correlated series and its standard error by batch means."""
    means = values[: len(values) // batches * batches].reshape(batches, -1).mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / math.sqrt(batches))


LONG = 25_000
"""Number of turns that gives a mean wait at high load to within a tenth; at low load, a fifth of them suffices."""


def check_waits(outcome: Outcome, expected_s: float) -> None:
    waits_s = np.array([turn_.scheduled_s - turn_.arrival_s for turn_ in outcome.turns])
    mean_s, error_s = mean_and_error(waits_s)
    assert error_s < 0.1 * expected_s, "the run is too short to tell"
    assert abs(mean_s - expected_s) < 4 * error_s


@pytest.mark.parametrize(
    ("turns", "rate", "seed"), [(LONG // 5, 0.5, 1), pytest.param(LONG, 0.7, 2, marks=pytest.mark.slow)]
)
def test_identical_turns_wait_as_in_an_m_d_1_queue(turns: int, rate: float, seed: int) -> None:
    """W = ρ·D / (2(1 − ρ)), the Pollaczek-Khinchine mean wait for a constant service time D."""
    service_s = 10 * 0.1
    outcome = single_turn_load(np.full(turns, 10), rate, step_s=0.1, seed=seed)
    assert all(t.finish_s - t.scheduled_s == pytest.approx(service_s) for t in outcome.turns)
    load = rate * service_s
    check_waits(outcome, load * service_s / (2 * (1 - load)))


@pytest.mark.parametrize(
    ("turns", "rate", "seed"), [(LONG // 5, 0.3, 3), pytest.param(LONG, 0.6, 4, marks=pytest.mark.slow)]
)
def test_geometric_outputs_wait_as_in_an_m_g_1_queue(turns: int, rate: float, seed: int) -> None:
    """W = λ·E[S²] / (2(1 − ρ)) (Pollaczek-Khinchine); with S geometric of mean 1 s, nearly M/M/1's ρ/(1 − ρ)·E[S]."""
    step_s, p = 0.02, 0.02
    outputs = np.random.default_rng(seed).geometric(p, turns)
    outcome = single_turn_load(outputs, rate, step_s=step_s, seed=seed + 100)
    # With the moments of the outputs drawn, so that only arrivals are left to chance.
    service_s = step_s * outputs
    load = rate * float(service_s.mean())
    expected_s = rate * float((service_s**2).mean()) / (2 * (1 - load))
    check_waits(outcome, expected_s)
    assert expected_s == pytest.approx(load / (1 - load), rel=0.15), "M/M/1 with a mean service of 1 s"


@settings(max_examples=8)
@given(case=cases(), policy=st.sampled_from(["fcfs", "lru", "program-fifo", "ttl-static", "ttl", "pin-forever"]))
def test_littles_law(case, policy: str) -> None:  # type: ignore[no-untyped-def]
    """Mean number in the batch and in the queue = arrival rate · mean time there, over any whole run."""
    programs, config = case
    outcome = simulate(programs, policy, config=config, step_time=affine(), stepwise=False)
    spans = [(s.end_s - s.start_s, s.running, s.waiting) for s in outcome.stretches]
    inside_s = math.fsum(span * (running + waiting) for span, running, waiting in spans)
    stays_s = math.fsum(turn_.finish_s - turn_.arrival_s for turn_ in outcome.turns)
    assert inside_s == pytest.approx(stays_s, rel=1e-9, abs=1e-6)
    if not outcome.totals.preemptions:
        running_s = math.fsum(span * running for span, running, _ in spans)
        assert running_s == pytest.approx(math.fsum(t.finish_s - t.scheduled_s for t in outcome.turns), abs=1e-6)


def test_one_worker_serves_programs_back_to_back() -> None:
    programs = [program(f"p{i}", turn(4, 3, gap=2.0), turn(8, 2)) for i in range(5)]
    outcome = simulate(programs, config=engine(50), arrivals=Closed(workers=1))
    each_s = 3 + 2.0 + 2
    assert [p.arrival_s for p in outcome.programs] == [k * each_s for k in range(5)]
    assert [p.jct_s for p in outcome.programs] == [each_s] * 5
    assert outcome.totals.end_s == 5 * each_s


@pytest.mark.parametrize(("workers", "seats"), [(1, 4), (3, 4), (4, 4), (8, 4), (12, 2)])
def test_closed_loop_throughput(workers: int, seats: int) -> None:
    """All steps take the same time, so throughput is min(workers, seats) programs per program time."""
    count = 48
    programs = [program(f"p{i}", turn(4, 5)) for i in range(count)]
    outcome = simulate(programs, config=engine(200, seqs=seats), arrivals=Closed(workers=workers), stepwise=False)
    assert outcome.totals.end_s == pytest.approx(count * 5 / min(workers, seats))
    in_system = [sum(p.arrival_s <= at < p.finish_s for p in outcome.programs) for at in (0.5, 10.5, 20.5)]
    assert in_system == [workers] * 3


def test_more_workers_than_programs() -> None:
    programs = [program(f"p{i}", turn(4, 2)) for i in range(3)]
    outcome = simulate(programs, config=engine(50), arrivals=Closed(workers=10))
    assert [p.arrival_s for p in outcome.programs] == [0.0] * 3


def test_a_burst_of_equal_programs_is_served_in_waves() -> None:
    programs = [program(f"p{i}", turn(4, 5), at=None) for i in range(12)]  # type: ignore[arg-type]
    outcome = simulate(programs, config=engine(200, seqs=4), arrivals=Burst())
    assert [p.jct_s for p in outcome.programs] == [5.0] * 4 + [10.0] * 4 + [15.0] * 4


def test_throughput_at_saturation_is_the_budget_over_the_step() -> None:
    """With hardly any output tokens, the token budget fills every step but the last."""
    programs = [program(f"p{i}", turn(100, 1)) for i in range(50)]
    outcome = simulate(programs, config=engine(2000, budget=64), stepwise=False)
    assert outcome.totals.steps == math.ceil(50 * 100 / 64)
