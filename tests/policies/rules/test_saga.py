from __future__ import annotations

import math
from statistics import NormalDist

import pytest

from continuum_sim.policies import Fate, PinFor, PolicyError
from continuum_sim.policies.history import Durations
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed
from support.programs import engine, program, turn
from support.runs import simulate


def test_fits_a_log_normal() -> None:
    recorded = Durations()
    for seconds in (1.0, math.e**2):
        recorded.add(seconds)
    assert recorded.lognormal() == pytest.approx((1.0, 1.0), abs=1e-6)


@pytest.mark.parametrize(("free", "factor"), [(100, 1.0), (30, 1.0), (20, 0.75), (10, 0.5), (0, 0.5)])
def test_keeps_for_the_p95_of_the_tool_shortened_under_pressure(free: int, factor: float) -> None:
    # ln 1 = 0 and ln e² = 2: μ = 1, σ = 1, so p95 = exp(1 + 1.645).
    bench = Governed("saga")
    bench.remember("ls", 1.0, math.e**2)
    bench.remember("other", 900.0, 950.0)
    bench.engine.free_blocks = free
    decision = bench.end(bench.run("p", 0.0), 1.0, 10)
    assert decision == pytest.approx(PinFor(factor * math.exp(1 + 1.6448536)), rel=1e-5)


def test_never_longer_than_the_cap_and_not_without_experience() -> None:
    bench = Governed("saga")
    assert bench.end(bench.run("p", 0.0), 1.0) is Fate.RELEASE
    bench.remember("ls", 900.0, 950.0)
    assert bench.end(bench.run("q", 0.0), 1.0) == PinFor(300.0)
    assert bench.end(bench.run("r", 0.0), 1.0, tool="new") == PinFor(300.0), "a new tool is like all tools"


def test_gives_up_the_highest_score() -> None:
    # All of one tool with μ = 0, σ = 1 (1/e and e seconds); p95 = e^1.645 = 5.18 s. At 3 s, of pins made at 1, 2
    # and 2 s: idle 2, 1 and 1 s; left 3.18, 4.18 and 4.18 s.
    bench = Governed("saga")
    bench.remember("ls", math.exp(-1), math.e)
    for name, until, blocks in (("old", 1.0, 10), ("large", 2.0, 40), ("small", 2.0, 10)):
        bench.end(bench.run(name, 0.0), until, blocks)
    within = NormalDist().cdf
    gone_1, gone_2 = within(math.log(1)), within(math.log(2))
    p_old, p_new = (0.95 - gone_2) / (1 - gone_2), (0.95 - gone_1) / (1 - gone_1)
    scores = {
        "old": 0.3 * 1 + 0.5 * (1 - p_old) + 0.2 * 10 / 40,
        "large": 0.3 * 0.5 + 0.5 * (1 - p_new) + 0.2,
        "small": 0.3 * 0.5 + 0.5 * (1 - p_new) + 0.2 * 10 / 40,
    }
    assert scores["old"] > scores["large"] > scores["small"]
    bench.engine.num_running = 5
    head = bench.arrive("head", 3.0)
    assert bench.breaks(head, 3.0) == "old"
    # Without "old" the maxima are others: idle 1/1 for both.
    assert bench.breaks(head, 3.0) == "large"
    assert bench.breaks(head, 3.0) == "small"


def test_weights_decide() -> None:
    bench = Governed("saga:idle_weight=0,reuse_weight=0")
    bench.remember("ls", math.exp(-1), math.e)
    for name, until, blocks in (("old", 1.0, 10), ("large", 2.0, 40)):
        bench.end(bench.run(name, 0.0), until, blocks)
    assert bench.breaks(bench.arrive("head", 3.0), 3.0) == "large"


def test_a_context_whose_turn_waits_is_sure_to_be_used() -> None:
    bench = Governed("saga:idle_weight=0,size_weight=0")
    bench.remember("ls", math.exp(-1), math.e)
    for name, until in (("back", 1.0), ("away", 2.99)):
        bench.end(bench.run(name, 0.0), until, 10)
    bench.arrive("back", 2.0)
    assert bench.breaks(bench.arrive("head", 3.0), 3.0) == "away"


def test_keeps_what_lru_evicts_in_a_run() -> None:
    # The first program teaches that "cat" takes 0.5 to 0.6 s and "make" 10 to 12 s. "make" then parks 5 full blocks of
    # 16 at 42 s and "cat" 5 at 45 s; "big" takes 11 at 47 s. LRU evicts the context parked longest. Here that of "cat"
    # has expired by then, as its tool is overdue, and that of "make" is kept until it returns at 53 s.
    gaps = (0.5, "cat"), (0.6, "cat"), (10.0, "make"), (12.0, "make"), (0.0, "make")
    programs = [
        program("teacher", *(turn(8 + 6 * i, 2, gap=gap, tool=tool) for i, (gap, tool) in enumerate(gaps)), at=0.0),
        program("make", turn(20, 2, gap=11.0, tool="make"), turn(28, 2), at=40.0),
        program("cat", turn(20, 2, gap=30.0, tool="cat"), turn(28, 2), at=43.0),
        program("big", turn(40, 2), at=47.0),
    ]
    run = simulate(programs, "saga", config=engine(16))
    lru = simulate(programs, "lru", config=engine(16))
    assert [who for _, _, who, _ in run.events("expire")] == ["cat"]
    assert run.of("make", 1).cached_tokens == 20
    assert lru.of("make", 1).cached_tokens < 20


def test_refuses_settings_out_of_range() -> None:
    with pytest.raises(PolicyError, match="quantile is 1.0, expected a share"):
        parse_policy("saga:quantile=1")
    with pytest.raises(PolicyError, match="cap is -1"):
        parse_policy("saga:cap=-1")
