from __future__ import annotations

import math

import pytest

from continuum_sim.policies import PinFor, PolicyError
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed
from support.programs import engine, program, turn
from support.runs import simulate


def test_yields_although_others_run_the_least_recently_used_first() -> None:
    bench = Governed("soft-ttl")
    bench.live("late", 0.0, 2.0)
    bench.live("early", 0.0, 1.0)
    bench.engine.num_running = 3
    head = bench.arrive("head", 2.5)
    assert bench.breaks(head, 2.5) == "early"
    assert bench.breaks(head, 2.5) == "late"
    assert bench.breaks(head, 2.5) is None


def test_protection_ends_with_the_ttl() -> None:
    bench = Governed("soft-ttl:ttl=3")
    bench.live("p", 0.0, 1.0)
    assert bench.step(3.9) == []
    assert bench.step(4.1) == ["p"]


def test_without_a_ttl_it_chooses_as_ttl_does() -> None:
    # A cold start with R(1000) = 10 s: ln 10 s of protection.
    bench = Governed("soft-ttl:ttl=none")
    assert bench.end(bench.run("p", 0.0), 1.0, 1000) == pytest.approx(PinFor(math.log(10)))


def test_growth_breaks_pins_before_it_preempts() -> None:
    # 14 blocks of 4. "kept" leaves 7 full ones for a long tool call; the two that follow need 3 each at first and
    # grow to 5: the fifth blocks of both do not fit beside the pin.
    programs = [
        program("kept", turn(26, 4, gap=50.0), turn(34, 2), at=0.0),
        program("one", turn(10, 11), at=5.0),
        program("two", turn(10, 11), at=5.0),
    ]
    hard = simulate(programs, "ttl-static:ttl=90", config=engine(14))
    soft = simulate(programs, "soft-ttl:ttl=90", config=engine(14))
    assert hard.totals.preemptions > 0
    assert hard.totals.counts.pins_hit == 1
    assert soft.totals.preemptions == 0
    assert soft.totals.counts.pins_broken == 1


def test_what_nothing_needs_stays_in_a_run() -> None:
    programs = [
        program("kept", turn(20, 4, gap=5.0), turn(30, 2), at=0.0),
        program("other", turn(30, 4), at=5.0),
    ]
    run = simulate(programs, "soft-ttl:ttl=90", config=engine(30))
    assert run.of("kept", 1).cached_tokens == 20
    assert run.totals.counts.pins_hit == 1


def test_eviction_reaches_protected_contexts_last() -> None:
    # 16 blocks of 4. "kept" ends first (4 full blocks), so LRU would evict it before "done" (5 full blocks, ended).
    # "big" needs 10: 7 lie free and 3 more are taken of "done", or of the tail of "kept" without protection.
    programs = [
        program("kept", turn(16, 2, gap=30.0), turn(24, 2), at=0.0),
        program("done", turn(20, 3), at=4.0),
        program("big", turn(38, 2), at=10.0),
    ]
    assert simulate(programs, "lru", config=engine(16)).of("kept", 1).cached_tokens < 16
    assert simulate(programs, "soft-ttl:ttl=90", config=engine(16)).of("kept", 1).cached_tokens == 16


def test_refuses_a_negative_ttl() -> None:
    with pytest.raises(PolicyError, match="ttl is -1.0"):
        parse_policy("soft-ttl:ttl=-1")
