from __future__ import annotations

import pytest

from continuum_sim.policies import PolicyError
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed
from support.programs import engine, program, turn
from support.runs import simulate


def test_depth_and_waiting_add_up() -> None:
    bench = Governed("llmd-turn-priority")
    bench.end(bench.run("deep", 0.0), 0.0)
    bench.end(bench.run("deep", 0.0), 0.0)
    waited_3s, waited_5s = bench.arrive("new", 7.0), bench.arrive("old", 5.0)
    deep = bench.arrive("deep", 10.0)
    # At 10 s: 2 + 0.5·0 = 2, 0 + 0.5·3 = 1.5, 0 + 0.5·5 = 2.5.
    assert bench.order(waited_3s, waited_5s, deep, at=10.0) == ["old", "deep", "new"]


def test_the_weight_says_what_a_second_is_worth() -> None:
    bench = Governed("llmd-turn-priority:time_weight=0.3")
    bench.end(bench.run("deep", 0.0), 0.0)
    bench.end(bench.run("deep", 0.0), 0.0)
    waited_5s, deep = bench.arrive("old", 5.0), bench.arrive("deep", 10.0)
    assert bench.order(waited_5s, deep, at=10.0) == ["deep", "old"]


def test_time_alone_never_changes_the_order() -> None:
    bench = Governed("llmd-turn-priority")
    bench.end(bench.run("deep", 0.0), 0.0)
    turns = [bench.arrive("new", 1.0), bench.arrive("deep", 2.5)]
    assert bench.order(*turns, at=2.5) == bench.order(*turns, at=1e6) == ["deep", "new"]


def test_preempted_turns_go_first() -> None:
    bench = Governed("llmd-turn-priority")
    bench.end(bench.run("deep", 0.0), 0.0)
    preempted = bench.run("new", 9.0)
    bench.governor.turn_preempted(preempted, 9.5)
    deep = bench.arrive("deep", 9.0)
    assert bench.order(deep, preempted, at=10.0) == ["new", "deep"]


@pytest.mark.parametrize(("weight", "first"), [(0.5, "young"), (0.05, "deep")])
def test_order_of_admission_in_a_run(weight: float, first: str) -> None:
    # One seat. "deep" comes back at 4 s for its second turn; "young" has waited for its first since 1 s.
    # When the seat is free at 21 s: 1 + w·17 against w·20: the young one wins if w > 1/3.
    programs = [
        program("deep", turn(8, 2, gap=2.0), turn(12, 2), at=0.0),
        program("busy", turn(8, 19), at=0.5),
        program("young", turn(8, 2), at=1.0),
    ]
    run = simulate(programs, f"llmd-turn-priority:time_weight={weight}", config=engine(50, seqs=1))
    starts = {"deep": run.of("deep", 1).scheduled_s, "young": run.of("young").scheduled_s}
    assert min(starts, key=lambda name: starts[name]) == first
    assert min(starts.values()) == 21


def test_refuses_a_negative_weight() -> None:
    with pytest.raises(PolicyError, match="time_weight is -1"):
        parse_policy("llmd-turn-priority:time_weight=-1")
