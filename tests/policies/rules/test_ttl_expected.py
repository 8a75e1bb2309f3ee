from __future__ import annotations

import pytest

from continuum_sim.policies import PinFor
from continuum_sim.policies.history import Durations
from continuum_sim.policies.rules.ttl import best_ttl_s
from continuum_sim.policies.rules.ttl_expected import best_expected_ttl_s
from support.governed import Governed, HandEngine
from support.programs import engine, program, turn
from support.runs import simulate
from support.steptimes import constant


def durations(*seconds: float) -> Durations:
    recorded = Durations()
    for s in seconds:
        recorded.add(s)
    return recorded


def test_charges_the_expected_time_of_the_pin() -> None:
    # P(1) = 2/3 and P(4) = 1. E[min(d, 1)] = 1 and E[min(d, 4)] = (1 + 1 + 4)/3 = 2.
    # B = 3.3: 2.2 - 1 = 1.2 against 3.3 - 2 = 1.3. Eq. 2 charges 4 and finds 3.3 - 4 < 0.
    recorded = durations(1, 1, 4)
    assert best_expected_ttl_s(recorded, 3.3) == pytest.approx(4)
    assert best_ttl_s(recorded, 3.3) == pytest.approx(1)


def test_ties_go_to_the_smallest() -> None:
    # B = 3: 2 - 1 = 1 and 3 - 2 = 1.
    assert best_expected_ttl_s(durations(1, 1, 4), 3.0) == pytest.approx(1)


def test_pins_nothing_that_gains_nothing() -> None:
    # B = 1: 2/3 - 1 < 0 and 1 - 2 < 0.
    assert best_expected_ttl_s(durations(1, 1, 4), 1.0) == 0
    assert best_expected_ttl_s(durations(), 5.0) == 0


def test_never_pins_shorter_than_the_paper_does() -> None:
    # The expected cost grows more slowly with τ, so the best τ can only move up.
    recorded = durations(0.2, 0.3, 0.3, 0.9, 2.5, 2.5, 7, 30)
    for benefit_s in (0.1, 0.5, 1, 2, 3, 5, 8, 13, 40):
        assert best_expected_ttl_s(recorded, benefit_s) >= best_ttl_s(recorded, benefit_s)


def test_learns_from_the_tool_called() -> None:
    # R(330) = 3.3 s; T̄ = 0.
    bench = Governed("ttl-expected:cold_start=2", HandEngine(per_token_s=0.01))
    bench.remember("ls", 1, 1, 4)
    bench.remember("sleep", 50, 50, 50)
    assert bench.end(bench.run("p", 0.0), 1.0, 330) == pytest.approx(PinFor(4))
    assert bench.end(bench.run("q", 0.0), 1.0, 330, tool="sleep").name == "RELEASE"  # type: ignore[union-attr]


def test_pins_longer_than_ttl_in_a_run() -> None:
    # After gaps of 1, 1 and 4 s the rules part as long as rebuilding takes between 3 and 9 s.
    turns = [turn(200 + 8 * i, 4, gap=gap) for i, gap in enumerate((1.0, 1.0, 4.0, 1.0, 0.0))]
    pins = {}
    for policy in ("ttl:cold_start=2", "ttl-expected:cold_start=2"):
        run = simulate([program("p", *turns)], policy, config=engine(200), step_time=constant(1.0))
        assert 3 < run.simulation.scheduler.rebuild_s(228) < 9
        pins[policy] = [e.detail["ttl_s"] for e in run.log if e.name == "pin" and e.turn == 3]
    assert pins == {"ttl:cold_start=2": [pytest.approx(1)], "ttl-expected:cold_start=2": [pytest.approx(4)]}
