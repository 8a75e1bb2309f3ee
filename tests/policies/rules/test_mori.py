from __future__ import annotations

from dataclasses import replace

import pytest

from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.policies import Fate, PolicyError
from continuum_sim.policies.rules.mori import idleness
from continuum_sim.setup.notation import parse_policy
from support.governed import Governed, HandEngine, HandTier
from support.programs import engine, program, turn
from support.runs import simulate


def test_idleness_is_of_five_turns_and_of_the_call_under_way() -> None:
    bench = Governed("mori")
    at = 0.0
    # A turn of 90 s first, to be forgotten; then four of 1 s with calls of 1 s.
    for busy_s, gap_s in ((90.0, 0.5), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0), (1.0, 1.0)):
        ran = bench.run("p", at)
        bench.end(ran, at + busy_s)
        at += busy_s + gap_s
    view = ran.program
    assert idleness(view, at) == pytest.approx(4.5 / (94 + 4.5), abs=1e-6), "five turns, the last call just over"
    last = bench.arrive("p", at)
    assert idleness(view, at + 50) == pytest.approx(4.5 / 98.5, abs=1e-6), "queueing counts for neither"
    bench.governor.turn_admitted(last, 0, at + 50)
    bench.end(last, at + 52)
    # The turn of 90 s drops out: 4 · 1 + 2 reasoning, 4 · 1 + 6 acting after 6 s of the new call.
    assert idleness(view, at + 58) == pytest.approx(10 / 16, abs=1e-6)


def test_a_preempted_turn_reasons_only_while_it_runs() -> None:
    bench = Governed("mori")
    ran = bench.run("p", 0.0)
    bench.governor.turn_preempted(ran, 2.0)
    bench.governor.turn_admitted(ran, 0, 10.0)
    bench.end(ran, 13.0)
    assert idleness(ran.program, 18.0) == pytest.approx(5 / (5 + 5), abs=1e-6)


def mori(capacity: int) -> Governed:
    bench = Governed("mori:buffer_tokens=0", HandEngine(total_blocks=capacity))
    # Busy for 4 s each, then in a call for 1, 3 and 2 s at 5 s: idleness 1/5, 3/5 (of 2 + 3) and 2/5 (of 3 + 2).
    turns = {name: bench.run(name, 0.0, prompt=3) for name in ("busy", "idle", "middling")}
    for name, until in (("busy", 4.0), ("idle", 2.0), ("middling", 3.0)):
        bench.end(turns[name], until, 30)
    return bench


def test_demotes_the_most_idle_until_the_rest_fits_and_gives_their_contexts_up() -> None:
    assert mori(90).step(5.0) == []
    assert mori(89).step(5.0) == ["idle"]
    assert mori(59).step(5.0) == ["idle", "middling"]
    assert mori(10).step(5.0) == ["idle", "middling"], "somebody always stays"


def test_demoted_programs_wait_until_there_is_room() -> None:
    bench = mori(89)
    bench.step(5.0)
    back = bench.arrive("idle", 6.0, 30)
    assert not bench.allows(back, 6.0)
    bench.step(10.0)
    assert not bench.allows(back, 10.0)
    bench.end(bench.run("busy", 11.0, 30), 12.0, last=True)
    bench.step(15.0)
    assert bench.allows(back, 15.0)


def test_one_at_work_is_demoted_when_its_turn_ends() -> None:
    bench = Governed("mori:buffer_tokens=0", HandEngine(total_blocks=50))
    turns = {name: bench.run(name, 0.0, prompt=3) for name in "ab"}
    bench.end(turns["a"], 1.0, 30)
    back = bench.run("a", 4.0, 30)  # idleness 3/4
    bench.end(turns["b"], 4.0, 30)  # 1/5 at 5 s
    assert bench.step(5.0) == []
    assert bench.allows(back, 5.0)
    decision = bench.end(back, 6.0, 30)
    assert back.program.paused
    assert back.program.pin is None
    assert decision.name == "RELEASE"  # type: ignore[union-attr]


def test_pressure_breaks_the_most_idle_first_although_others_run() -> None:
    bench = mori(200)
    bench.engine.num_running = 2
    head = bench.arrive("head", 5.0)
    assert [bench.breaks(head, 5.0) for _ in range(3)] == ["idle", "middling", "busy"]


def above(bench: Governed, room: int) -> Governed:
    bench.engine.tier = HandTier(free_blocks=room)
    return bench


def test_with_host_memory_the_demoted_go_there_while_there_is_room_the_busiest_first() -> None:
    gone = {}
    for room in (60, 59, 29):
        bench = above(mori(59), room)
        assert sorted(bench.step(5.0)) == ["idle", "middling"]
        bench.governor.programs["idle"].paused = bench.governor.programs["middling"].paused = False
        gone[room] = bench.governor.counts.offloads, bench.recalls(6.0)
    assert gone == {60: (2, ["middling", "idle"]), 59: (1, ["middling"]), 29: (0, [])}


def test_one_demoted_as_its_turn_ends_goes_there_too() -> None:
    for room, fate in ((30, Fate.OFFLOAD), (29, Fate.RELEASE)):
        bench = above(Governed("mori:buffer_tokens=0", HandEngine(total_blocks=50)), room)
        turns = {name: bench.run(name, 0.0, prompt=3) for name in "ab"}
        bench.end(turns["a"], 1.0, 30)
        back = bench.run("a", 4.0, 30)
        bench.end(turns["b"], 4.0, 30)
        bench.step(5.0)
        assert bench.end(back, 6.0, 30) is fate


def test_the_demoted_stay_there_until_they_are_promoted() -> None:
    bench = above(mori(89), 1000)
    assert bench.step(5.0) == ["idle"]
    assert bench.recalls(5.0) == []
    bench.end(bench.run("busy", 6.0, 30), 7.0, last=True)
    assert bench.recalls(10.0) == ["idle"]


@pytest.mark.parametrize("stepwise", [True, False])
def test_in_a_run_the_demoted_come_back_instead_of_being_computed_again(stepwise: bool) -> None:
    # As below; with host memory the 5 blocks of "idle" are kept there, although "late" needs 10 of the 16, and come
    # back once "busy" has left; two are still cached.
    programs = [
        program("idle", turn(20, 2, gap=90.0), turn(26, 2), at=0.0),
        program("busy", *(turn(12 + 6 * i, 4, gap=3.0) for i in range(5)), at=0.0),
        program("late", turn(40, 2), at=60.0),
    ]
    config = engine(12)
    without = simulate(programs, "mori:period=2,buffer_tokens=0", config=config, stepwise=stepwise)
    assert without.of("idle", 1).recomputed_tokens > 1
    tiered = replace(config, tiers=TierConfig(16, 0.01, reload="always"))
    run = simulate(programs, "mori:period=2,buffer_tokens=0", config=tiered, stepwise=stepwise)
    assert [who for _, _, who, _ in run.events("offload")] == ["idle"]
    back = run.of("idle", 1)
    assert back.cached_tokens + back.reloaded_tokens == 20
    assert run.totals.tiers[0].read_blocks == 3


def test_keeps_the_busy_and_demotes_the_idle_in_a_run() -> None:
    # 48 tokens. "idle" is in a call of 90 s with 22 tokens; "busy" has 16, 22 and 28: too much with its third turn,
    # which a tick finds during the call that follows.
    programs = [
        program("idle", turn(20, 2, gap=90.0), turn(26, 2), at=0.0),
        program("busy", *(turn(12 + 6 * i, 4, gap=3.0) for i in range(5)), at=0.0),
    ]
    run = simulate(programs, "mori:period=2,buffer_tokens=0", config=engine(12))
    assert [(name, who) for name, _, who, _ in run.events("expire", "break")] == [("expire", "idle")]
    assert all(t.cached_tokens > 0 for t in run.turns if t.program == "busy" and t.turn)


def test_refuses_a_period_of_zero() -> None:
    with pytest.raises(PolicyError, match="period is 0.0"):
        parse_policy("mori:period=0")
