"""`ttl`: Eq. 2 of Continuum (arXiv 2511.02230), its cold start, and what it learns from."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.policies import Fate, PinFor, PolicyError, find_preset
from continuum_sim.policies.history import Durations, kept_s
from continuum_sim.policies.rules.ttl import Ttl, best_ttl_s
from support.governed import Governed, HandEngine


def recorded(*seconds: float) -> Durations:
    durations = Durations()
    for value in seconds:
        durations.add(value)
    return durations


# Eq. 2 ------------------------------------------------------------------------------------------------------


def test_the_gain_decides() -> None:
    # P(1) = 1/2, P(2) = 3/4, P(8) = 1. Benefit 6: 3 - 1 = 2, 4.5 - 2 = 2.5, 6 - 8 < 0.
    assert best_ttl_s(recorded(1, 1, 2, 8), 6.0) == pytest.approx(2.0)
    # Benefit 40: 20 - 1, 30 - 2, 40 - 8 = 32.
    assert best_ttl_s(recorded(1, 1, 2, 8), 40.0) == pytest.approx(8.0)
    # Benefit 3: 1.5 - 1 = 0.5, 2.25 - 2 = 0.25.
    assert best_ttl_s(recorded(1, 1, 2, 8), 3.0) == pytest.approx(1.0)


def test_nothing_is_pinned_when_nothing_gains() -> None:
    assert best_ttl_s(recorded(1, 1, 2, 8), 1.9) == 0.0
    assert best_ttl_s(recorded(), 100.0) == 0.0
    assert best_ttl_s(recorded(5), 0.0) == 0.0


def test_zero_wins_its_ties() -> None:
    # P(1)·2 - 1 = 0, which pinning nothing gains too.
    assert best_ttl_s(recorded(1, 4), 2.0) == 0.0


def test_the_smallest_wins_other_ties() -> None:
    # Benefit 4: 2 - 1 = 1 and 4 - 3 = 1.
    assert best_ttl_s(recorded(1, 3), 4.0) == pytest.approx(1.0)
    # The same gains, but for the last bits of the benefit.
    assert best_ttl_s(recorded(1, 3), 4.0 + 1e-12) == pytest.approx(1.0)


def test_instant_tools_need_no_pin() -> None:
    # P(0) = 3/4: of a benefit of 4 seconds, 3 come without a pin; a fourth second costs 2.
    assert best_ttl_s(recorded(0, 0, 0, 2), 4.0) == 0.0


@given(
    quarters=st.lists(st.integers(0, 40), min_size=1, max_size=30),
    benefit=st.integers(0, 400).map(lambda k: Fraction(k, 8)),
)
def test_against_the_definition(quarters: list[int], benefit: Fraction) -> None:
    durations = [Fraction(q, 4) for q in quarters]

    def gain(tau: Fraction) -> Fraction:
        return Fraction(sum(d <= tau for d in durations), len(durations)) * benefit - tau

    candidates = sorted({Fraction(0), *durations})
    best = max(candidates, key=lambda tau: (gain(tau), -tau))
    assert best_ttl_s(recorded(*map(float, durations)), float(benefit)) == pytest.approx(float(best), abs=1e-9)


# Which records, and T̄·η + R(C) ---------------------------------------------------------------------------------


def bench(cold_start: int, per_token_s: float = 0.01) -> Governed:
    return Governed(f"ttl:cold_start={cold_start}", HandEngine(per_token_s=per_token_s))


def ttl_of(governed: Governed, context: int, tool: str = "ls") -> float:
    """Return for how many seconds a turn that ends with this context is pinned."""
    decision = governed.end(governed.run("p", 0.0), 1.0, context, tool=tool)
    return decision.ttl_s if isinstance(decision, PinFor) else 0.0


def test_cold_start_pins_for_the_logarithm_of_the_benefit() -> None:
    # No records at all: T̄ = 0 and B = R(C).
    assert ttl_of(bench(100), 800) == pytest.approx(math.log(8.0))
    # B = 1 s and below is worth nothing.
    assert ttl_of(bench(100), 100) == 0.0
    assert ttl_of(bench(100), 50) == 0.0


def test_cold_start_counts_all_tools_together_and_ends_beyond_k() -> None:
    governed = bench(4)
    governed.remember("ls", 0.5, 0.5)
    governed.remember("cat", 0.5, 0.5)
    assert ttl_of(governed, 800) == pytest.approx(math.log(8.0)), "4 records are not more than 4"
    governed.remember("cat", 0.5)
    assert ttl_of(governed, 800) == pytest.approx(0.5)


@pytest.mark.parametrize(("others", "expected_s"), [(3, 0.5), (4, 0.5), (5, 6.0)])
def test_a_tool_with_few_records_borrows_those_of_all(others: int, expected_s: float) -> None:
    # Two records of `ls` at 0.5 s, the others at 6 s, benefit 8 s: 6 s gains 8 - 6 = 2 with any number of them;
    # 0.5 s gains 2/5·8 - 0.5 = 2.7, 2/6·8 - 0.5 = 2.17, 2/7·8 - 0.5 = 1.79.
    governed = bench(2)
    governed.remember("cat", *[6.0] * others)
    governed.remember("ls", 0.5, 0.5)
    assert ttl_of(governed, 800, "ls") == pytest.approx(expected_s)


def test_a_tool_with_enough_records_goes_by_its_own() -> None:
    governed = bench(2)
    governed.remember("cat", *[6.0] * 5)
    governed.remember("ls", 0.5, 0.5, 0.5)
    assert ttl_of(governed, 800, "ls") == pytest.approx(0.5)
    assert ttl_of(governed, 800, "cat") == pytest.approx(6.0)


def test_a_tool_never_seen_borrows_too() -> None:
    governed = bench(2)
    governed.remember("ls", 0.5, 0.5, 0.5)
    assert ttl_of(governed, 800, "never") == pytest.approx(0.5)


def test_no_tool_at_all_borrows_too() -> None:
    governed = bench(2)
    governed.remember("ls", 0.5, 0.5, 0.5)
    decision = governed.end(governed.run("p", 0.0), 1.0, 800, tool=None)
    assert decision == PinFor(pytest.approx(0.5))


def waits(governed: Governed, *seconds: float) -> None:
    """Have turns come back unpinned and wait for these seconds."""
    for number, wait_s in enumerate(seconds):
        name = f"w{number}"
        governed.end(governed.run(name, 0.0), 0.0, 0, tool="wait")
        turn = governed.arrive(name, 0.0)
        governed.governor.turn_admitted(turn, 0, wait_s)


def test_the_mean_wait_of_unpinned_turns_is_part_of_the_benefit() -> None:
    governed = bench(10_000)
    waits(governed, 3.0, 5.0)
    assert governed.governor.history.mean_wait_s() == pytest.approx(4.0)
    assert ttl_of(governed, 400) == pytest.approx(math.log(4.0 + 4.0))


def test_the_mean_wait_counts_by_how_much_turns_done_foretell_turns_left() -> None:
    governed = bench(0, per_token_s=1e-9)
    waits(governed, 10.0)
    for turns in (1, 1, 1, 4):  # lengths with little memory
        governed.governor.history.turn_counts.add(turns)
    eta = governed.governor.history.turn_counts.eta()
    assert 0.0 < eta < 0.6
    governed.remember("ls", 10.0 * eta - 0.01)
    assert ttl_of(governed, 100) == kept_s(10.0 * eta - 0.01)
    governed = bench(0, per_token_s=1e-9)
    waits(governed, 10.0)
    for turns in (1, 1, 1, 4):
        governed.governor.history.turn_counts.add(turns)
    governed.remember("ls", 10.0 * eta + 0.01)
    assert ttl_of(governed, 100) == 0.0


def test_cold_start_does_not_weigh_the_wait_by_eta() -> None:
    governed = bench(10_000, per_token_s=1e-9)
    waits(governed, 10.0)
    for turns in (1, 1, 1, 4):
        governed.governor.history.turn_counts.add(turns)
    assert ttl_of(governed, 100) == pytest.approx(math.log(10.0), abs=1e-6)


def test_what_is_too_short_to_hold_a_block_is_released() -> None:
    governed = bench(100)
    assert governed.end(governed.run("p", 0.0), 1.0, 800, blocks=0) is Fate.RELEASE


def test_the_last_turn_is_released_at_once() -> None:
    governed = bench(100)
    assert governed.end(governed.run("p", 0.0), 1.0, 800, last=True) is Fate.RELEASE


def test_the_preset() -> None:
    parameters = {p.name: p.default for p in find_preset("ttl").parameters}
    assert parameters == {"pressure": "deadlock", "cold_start": 100}
    with pytest.raises(PolicyError, match="cold_start is -1"):
        Ttl(cold_start=-1)
