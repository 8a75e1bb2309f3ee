from __future__ import annotations

from continuum_sim.policies.views import Foresight
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed
from support.programs import engine, program, turn
from support.runs import simulate


def test_gives_up_the_context_needed_last() -> None:
    bench = Governed("belady")
    bench.live("soon", 0.0, 5.0, foresight=Foresight(4.0, 1, 1))  # back at 9
    bench.live("last", 0.0, 1.0, foresight=Foresight(20.0, 1, 1))  # back at 21
    bench.live("later", 0.0, 4.0, foresight=Foresight(8.0, 1, 1))  # back at 12
    bench.engine.num_running = 2
    head = bench.arrive("head", 6.0)
    assert [bench.breaks(head, 6.0) for _ in range(4)] == ["last", "later", "soon", None]


def test_turns_that_wait_are_needed_before_turns_to_come_and_in_order_of_arrival() -> None:
    bench = Governed("belady")
    for name in ("first", "second", "away"):
        bench.live(name, 0.0, 1.0, foresight=Foresight(9.0, 1, 1))
    bench.arrive("first", 3.0)
    bench.arrive("second", 4.0)
    head = bench.arrive("head", 5.0)
    assert [bench.breaks(head, 5.0) for _ in range(3)] == ["away", "second", "first"]


def test_keeps_what_lru_evicts_in_a_run() -> None:
    # 16 blocks of 4. "soon" parks 5 full blocks at 3 s and is back at 13 s, "late" 5 at 7 s and is back at 57 s;
    # "big" comes at 9 s and needs 8 where 6 are free. LRU takes the tail of "soon", parked longest.
    programs = [
        program("soon", turn(20, 3, gap=10.0), turn(30, 2), at=0.0),
        program("late", turn(20, 3, gap=50.0), turn(30, 2), at=4.0),
        program("big", turn(28, 5), at=9.0),
    ]
    lru = simulate(programs, "lru", config=engine(16))
    belady = simulate(programs, "belady", config=engine(16))
    assert lru.of("soon", 1).cached_tokens < 20
    assert belady.of("soon", 1).cached_tokens == 20
    assert belady.totals.preemptions == 0


def test_looks_ahead() -> None:
    assert parse_policy("belady").oracle
