from __future__ import annotations

from dataclasses import replace

import pytest

import continuum_sim as cs
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.errors import ConfigError
from continuum_sim.policies import PinFor, PolicyError
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed, HandEngine, HandTier
from support.programs import engine, program, turn
from support.runs import simulate
from support.schedule import ScheduleObserver


def crowded(spec: str = "tokencake:margin=1", **tier: float) -> Governed:
    """A turn of 80 tokens waits and 20 blocks (of a token) are free; tools take 10 s."""
    bench = Governed(spec, HandEngine(free_blocks=20, num_waiting=1, shortest_waiting_tokens=80))
    bench.engine.tier = HandTier(**tier)  # type: ignore[arg-type]
    bench.remember("ls", 10.0)
    return bench


def test_offloads_where_waiting_work_fits_then() -> None:
    bench = crowded()
    assert bench.end(bench.run("p", 0.0), 10.0, 60) == PinFor(float("inf"))
    assert bench.step(10.0) == ["p"]
    assert bench.governor.counts.offloads == 1


@pytest.mark.parametrize(
    ("context", "shortest", "waiting"),
    [
        (59, 80, 1),  # one block short
        (60, 81, 1),
        (60, 20, 1),  # fits as it is
        (60, 80, 0),  # nobody waits
    ],
)
def test_keeps_where_nothing_would_come_of_it(context: int, shortest: int, waiting: int) -> None:
    bench = crowded()
    bench.engine.num_waiting, bench.engine.shortest_waiting_tokens = waiting, shortest
    bench.live("p", 0.0, 10.0, context)
    assert bench.step(10.0) == []


def test_keeps_where_host_memory_is_full() -> None:
    bench = crowded(free_blocks=59)
    bench.live("p", 0.0, 10.0, 60)
    assert bench.step(10.0) == []


def test_keeps_what_is_expected_back_too_soon() -> None:
    # Down and up take 0.06 s each, and the margin is 1 s: worth it while more than 1.12 s of the 10 s are left.
    for elapsed_s, gone in ((8.8, ["p"]), (8.9, [])):
        bench = crowded()
        bench.live("p", 0.0, 10.0, 60)
        assert bench.step(10.0 + elapsed_s) == gone


def test_a_new_tool_is_expected_to_take_as_long_as_the_others() -> None:
    bench = crowded()
    bench.end(bench.run("p", 0.0), 10.0, 60, tool="new")
    assert bench.step(10.0) == ["p"]


def test_the_longest_pause_goes_first_and_no_more_than_needed() -> None:
    bench = crowded()
    bench.remember("make", 100.0)
    bench.end(bench.run("short", 0.0), 10.0, 60, tool="ls")
    bench.end(bench.run("long", 0.0), 10.0, 60, tool="make")
    assert bench.step(10.0) == ["long"]


def away(context: int = 60) -> Governed:
    """The context of p went to host memory at 10 s; its tool is expected to return at 20 s."""
    bench = crowded()
    bench.live("p", 0.0, 10.0, context)
    assert bench.step(10.0) == ["p"]
    assert bench.recalls(10.0) == []
    return bench


@pytest.mark.parametrize(("context", "early_s"), [(60, 0.1), (80, 0.1), (200, 0.25)])
def test_a_context_comes_back_early_by_a_tenth_of_a_second_or_by_more_than_its_transfer(
    context: int, early_s: float
) -> None:
    bench = away(context)  # 1 ms a token
    assert bench.governor.review_away_s == pytest.approx(20 - early_s)
    assert bench.recalls(20 - early_s - 1e-6) == []
    assert bench.recalls(20 - early_s) == ["p"]
    assert bench.recalls(20.0) == [], "it is on its way"
    assert bench.governor.counts.recalls == 1


def test_a_context_without_room_is_asked_for_again_until_its_turn_comes() -> None:
    bench = away()
    assert bench.recalls(19.9, room=False) == bench.recalls(21.0, room=False) == ["p"]
    bench.arrive("p", 22.0)
    assert bench.recalls(22.0) == []
    assert bench.governor.counts.recalls == 0


def test_what_would_come_back_at_once_does_not_go() -> None:
    # Down and up take 0.04 s each; the way back begins 0.1 s before 20 s.
    for at_s, gone in ((19.89, ["p"]), (19.91, [])):
        bench = crowded("tokencake:margin=0")
        bench.engine.shortest_waiting_tokens = 60
        bench.live("p", 0.0, 10.0, 40)
        assert bench.step(at_s) == gone
        assert bench.recalls(at_s) == []


class AtMost(ScheduleObserver):
    """Fails a run that never stops planning."""

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        super().on_plan(scheduler, plan, now_s)
        assert len(self.steps) < 100


@pytest.mark.parametrize("block_s", [0.0, 0.001])
def test_a_context_does_not_go_and_come_for_ever(block_s: float) -> None:
    # n comes 0.05 s before a's tool is expected to return, needs all 10 blocks, and a pins 5 of them.
    a = program("a", turn(20, 1, gap=10.0), turn(21, 1, gap=10.0), turn(22, 1))
    n = program("n", turn(40, 1), at=21.95)
    config = replace(engine(10), tiers=TierConfig(20, block_s, reload="always"))
    run = simulate([a, n], "tokencake:margin=0", config=config, observer=AtMost())
    assert run.events("offload", "recall", "break") == [("break", 21.95, "a", 1)]
    assert run.of("n").scheduled_s == 21.95


def test_what_is_expected_back_first_comes_first() -> None:
    bench = crowded()
    bench.remember("make", 9.5)
    bench.engine.shortest_waiting_tokens = 140
    bench.end(bench.run("ls", 0.0), 10.0, 60, tool="ls")
    bench.end(bench.run("make", 0.0), 10.0, 60, tool="make")
    assert bench.step(10.0) == ["ls", "make"]
    assert bench.recalls(20.0) == ["make", "ls"]


def test_what_no_longer_pays_may_make_way_for_smaller_contexts() -> None:
    # 16 blocks of host memory, 14 are wanted: a long pause of 12 blocks leaves no room for one of 8 before it is over.
    bench = crowded(free_blocks=16)
    bench.engine.free_blocks, bench.engine.shortest_waiting_tokens = 0, 14
    bench.remember("big", 12.0)
    for name, context, tool in (("b", 12, "big"), ("s", 8, "ls"), ("t", 8, "ls")):
        bench.end(bench.run(name, 0.0), 10.0, context, tool=tool)
    assert bench.step(10.0) == []
    assert bench.governor.next_event_s() == pytest.approx(20 - 2 * 0.008 - 1), "the first of them stops to pay"


@pytest.mark.parametrize("stepwise", [True, False])
def test_an_early_context_is_there_when_its_turn_comes(stepwise: bool) -> None:
    # As below, but the engine is idle from 41.5 s: 10 blocks come from 61.875 to 61.975 s, for 62 s.
    a = program("a", turn(40, 1, gap=30.0), turn(40, 1, gap=30.0), turn(42, 1))
    c, n = program("c", turn(3, 10), at=31.5), program("n", turn(60, 1), at=34.0)
    config = replace(engine(20), tiers=TierConfig(40, 0.01, reload="always"))
    run = simulate([a, c, n], "tokencake", config=config, stepwise=stepwise)
    (recall,) = run.events("recall")
    assert recall[1] == pytest.approx(62 - 1.25 * 11 * 0.01)
    assert run.of("a", 2).scheduled_s == 62.0
    assert (run.of("a", 2).cached_tokens, run.of("a", 2).reloaded_tokens) == (40, 0)


@pytest.mark.parametrize("stepwise", [True, False])
def test_a_waiting_turn_gets_in_and_the_context_comes_back(stepwise: bool) -> None:
    # a parks 10 of 20 blocks from 1 s; its tool took 30 s before. n needs 15 at 3 s, while c runs on.
    a = program("a", turn(40, 1, gap=30.0), turn(41, 1, gap=30.0), turn(42, 1))
    c, n = program("c", turn(3, 50), at=31.5), program("n", turn(60, 1), at=34.0)
    config = replace(engine(20), tiers=TierConfig(40, 0.01, reload="always"))
    run = simulate([a, c, n], "tokencake", config=config, stepwise=stepwise)
    assert run.of("n").scheduled_s < 36.0
    assert [who for _, _, who, _ in run.events("offload")] == ["a"]
    assert run.of("a", 2).reloaded_tokens > 0
    soft = simulate([a, c, n], "soft-ttl:ttl=100", config=replace(config, tiers=None), stepwise=stepwise)
    assert soft.of("a", 2).recomputed_tokens > 0, "a pin that merely yields loses what n takes"


def test_needs_host_memory() -> None:
    with pytest.raises(ConfigError, match="policy 'tokencake' moves contexts to host memory: give it some with --dram"):
        cs.run(policy="tokencake", limit=1)
    summary = cs.run(policy="tokencake", limit=2, dram_gb=20).summary
    assert summary.programs == 2
    assert "tokencake sent no context to host memory" in summary.notes


def test_refuses_a_negative_margin() -> None:
    with pytest.raises(PolicyError, match="margin is -1"):
        parse_policy("tokencake:margin=-1")
