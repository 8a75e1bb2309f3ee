from __future__ import annotations

import pytest

from continuum_sim.policies import PolicyError
from continuum_sim.policies.views import Foresight
from continuum_sim.setup.notation import parse_policy
from continuum_sim.world.foresight import foresee
from support.governed import Governed
from support.programs import engine, program, turn
from support.runs import simulate


def test_foresight_counts_what_remains() -> None:
    # New tokens: 10 + 3; then 20 - 13 = 7 + 4; then 30 - 24 = 6 + 5.
    p = program("p", turn(10, 3, gap=2.0), turn(20, 4, gap=7.0), turn(30, 5))
    arrival, end = zip(*foresee(p), strict=True)
    assert list(arrival) == [Foresight(2.0, 3, 35, 12), Foresight(7.0, 2, 22, 9), Foresight(0.0, 1, 11, 5)]
    assert list(end) == [Foresight(2.0, 2, 22, 9), Foresight(7.0, 1, 11, 5), Foresight(0.0, 0, 0, 0)]


def test_least_remaining_work_first_and_weighted() -> None:
    bench, weighted = Governed("oracle-srpt"), Governed("oracle-srpt:output_weight=10")
    for b, order in ((bench, ["chatty", "wordy"]), (weighted, ["wordy", "chatty"])):
        wordy = b.arrive("wordy", 0.0, foresight=Foresight(0.0, 1, 100, 5))
        chatty = b.arrive("chatty", 1.0, foresight=Foresight(0.0, 1, 60, 40))
        # 95 + 5 against 20 + 40; with weight 10: 95 + 50 against 20 + 400.
        assert b.order(wordy, chatty, at=2.0) == order


def test_most_remaining_work_is_preempted_first() -> None:
    bench = Governed("oracle-srpt")
    running = [bench.arrive(n, 0.0, foresight=Foresight(0.0, 1, w, 1)) for n, w in (("a", 9), ("b", 30), ("c", 8))]
    assert bench.policy.order.victim(running) == 1


def test_a_short_newcomer_overtakes_in_a_run() -> None:
    # One seat, taken until 9 s. "long" waits since 1 s with many turns ahead, "short" since 5 s with one.
    programs = [
        program("busy", turn(8, 9), at=0.0),
        program("long", turn(8, 2), turn(12, 20), at=1.0),
        program("short", turn(8, 2), at=5.0),
    ]
    run = simulate(programs, "oracle-srpt", config=engine(50, seqs=1))
    assert run.of("short").scheduled_s == 9
    assert run.of("long").scheduled_s == run.of("short").finish_s
    assert simulate(programs, "lru", config=engine(50, seqs=1)).of("long").scheduled_s == 9


def test_is_marked_as_looking_ahead_and_checks_its_weight() -> None:
    assert parse_policy("oracle-srpt").oracle
    with pytest.raises(PolicyError, match="output_weight is -1"):
        parse_policy("oracle-srpt:output_weight=-1")
