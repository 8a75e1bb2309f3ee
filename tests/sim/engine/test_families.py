"""Programs with sub-agents: schedules worked out by hand, and what holds for every family in both modes."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.policies import PRESETS
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.arrivals import Closed, Poisson
from continuum_sim.traces.schema import Child, Program
from continuum_sim.world.tools import ToolConfig, ToolOutcomes
from support.compare import assert_same_runs
from support.invariants import InvariantObserver
from support.programs import engine, program, turn
from support.runs import Outcome, simulate
from support.steptimes import affine, constant
from support.strategies import engines, families, policies, tool_configs

both_modes = pytest.mark.parametrize("stepwise", [True, False])
SOME = st.one_of(st.just(0.0), st.floats(1e-3, 2.0))
EIGHTHS = st.integers(0, 16).map(lambda k: k / 8)


def run(programs: list[Program], *, stepwise: bool, **how: Any) -> Outcome:
    """Run with steps of 1 s and memory for everything: a turn of n outputs ends n seconds after its arrival."""
    return simulate(programs, config=engine(1000), stepwise=stepwise, **how)


def child(name: str, outputs: int, after: int, join: int | None = None, *own: Child) -> Child:
    """A sub-agent of one turn."""
    return Child(replace(program(name, turn(4, outputs)), arrival_s=None, children=own), after, join)


def root(*children: Child, gap: float = 2.0, name: str = "r", at: float = 0.0) -> Program:
    """Two turns of 1 s with a gap between them."""
    return replace(program(name, turn(4, 1, gap=gap), turn(8, 1), at=at), children=children)


def spans(outcome: Outcome) -> dict[str, tuple[float, float, str | None, float]]:
    """Return (arrival, finish, parent, seconds it waited for sub-agents) by program."""
    return {p.program: (p.arrival_s, p.finish_s, p.parent, p.join_s) for p in outcome.programs}


@both_modes
def test_a_turn_waits_for_its_gap_and_for_its_sub_agents(stepwise: bool) -> None:
    outcome = run([root(child("c", 5, 0, 1))], stepwise=stepwise)
    # r: 0-1; c: 1-6; r's tool: 1-3, then 3 s for c; r: 6-7.
    assert spans(outcome) == {"c": (1.0, 6.0, "r", 0.0), "r": (0.0, 7.0, None, 3.0)}
    record = outcome.programs[-1]
    assert (record.jct_s, record.tool_s, record.join_s) == (7.0, 2.0, 3.0)
    assert outcome.of("r", 1).arrival_s == 6.0
    assert outcome.of("r", 0).tool_s == 2.0


@both_modes
def test_a_sub_agent_that_is_done_before_the_gap_costs_nothing(stepwise: bool) -> None:
    outcome = run([root(child("c", 1, 0, 1))], stepwise=stepwise)
    assert spans(outcome) == {"c": (1.0, 2.0, "r", 0.0), "r": (0.0, 4.0, None, 0.0)}


@both_modes
def test_the_end_waits_for_what_no_turn_waits_for(stepwise: bool) -> None:
    outcome = run([root(child("c", 9, 0), child("d", 2, 1))], stepwise=stepwise)
    # r: 0-1 and 3-4; c: 1-10; d: 4-6.
    assert spans(outcome) == {"d": (4.0, 6.0, "r", 0.0), "c": (1.0, 10.0, "r", 0.0), "r": (0.0, 10.0, None, 6.0)}
    assert outcome.of("r", 1).finish_s == 4.0


@both_modes
def test_sub_agents_have_sub_agents(stepwise: bool) -> None:
    outcome = run([root(child("c", 2, 0, 1, child("c/d", 3, 0)))], stepwise=stepwise)
    # c: 1-3, its own child: 3-6, so c ends at 6 s.
    assert spans(outcome) == {
        "c/d": (3.0, 6.0, "c", 0.0),
        "c": (1.0, 6.0, "r", 3.0),
        "r": (0.0, 7.0, None, 3.0),
    }


@both_modes
def test_a_join_turn_waits_for_all_of_its_sub_agents_and_no_other(stepwise: bool) -> None:
    family = replace(
        program("r", turn(4, 1, gap=1.0), turn(8, 1, gap=1.0), turn(12, 1)),
        children=(child("c", 2, 0, 1), child("d", 6, 0, 2), child("e", 4, 0, 1)),
    )
    outcome = run([family], stepwise=stepwise)
    # Children run 1-3, 1-7, 1-5; turns of r: 0-1, 5-6 (c and e), 7-8 (d).
    assert [outcome.of("r", index).arrival_s for index in range(3)] == [0.0, 5.0, 7.0]


@both_modes
def test_closed_workers_wait_for_the_whole_family(stepwise: bool) -> None:
    outcome = run([root(child("c", 5, 0)), root(name="s")], stepwise=stepwise, arrivals=Closed(1))
    assert spans(outcome)["r"][1] == spans(outcome)["s"][0] == 6.0


@both_modes
def test_arrivals_are_of_roots_alone(stepwise: bool) -> None:
    plain = [root(name="r"), root(name="s"), root(name="t")]
    grown = [replace(plain[0], children=(child("c", 5, 0, 1), child("d", 5, 0, 1))), *plain[1:]]
    arrivals = [
        {p.program: p.arrival_s for p in run(which, stepwise=stepwise, arrivals=Poisson(0.5)).programs}
        for which in (plain, grown)
    ]
    assert {name: arrivals[1][name] for name in "rst"} == arrivals[0]


@both_modes
def test_a_gate_lets_in_what_a_program_waits_for_and_no_other(stepwise: bool) -> None:
    family = root(child("c", 4, 0, 1, child("c/d", 2, 0)))
    outcome = run([family, program("s", turn(4, 1), at=0.5)], stepwise=stepwise, policy="session-gate:limit=1")
    # r: 0-1; c: 1-5 and its own: 5-7, so r again: 7-8; only then is there a place for s.
    assert {name: span[:2] for name, span in spans(outcome).items()} == {
        "c/d": (5.0, 7.0),
        "c": (1.0, 7.0),
        "r": (0.0, 8.0),
        "s": (0.5, 9.0),
    }
    assert outcome.totals.counts.holds == 1


GATES = {
    "session-gate": ["limit=1", "limit=2", "limit=5"],
    "concur": ["window=1,period=0.5", "window=3,period=0.25,low=0,high=0,hit_rate=1"],
    "mars": ["window=1,period=0.5", "window=3,period=0.25,overload=0.2,clear=0"],
    "thunderagent": ["", "period=0.25,buffer_tokens=0", "period=0.25,half_life=1e6,buffer_tokens=500"],
    "mori": ["", "period=0.25,buffer_tokens=0", "period=0.25,buffer_tokens=500"],
}


def test_every_gate_is_tried_here() -> None:
    assert set(GATES) == {name for name, preset in PRESETS.items() if preset.admission.gated}


@pytest.mark.parametrize("gate", [f"{name}:{how}".rstrip(":") for name, hows in GATES.items() for how in hows])
@settings(max_examples=2)
@given(programs=families(SOME, SOME), data=st.data())
def test_no_gate_leaves_anyone_unserved(gate: str, programs: list[Program], data: st.DataObject) -> None:
    """Families whose parents take every place and whose contexts are most of the memory."""
    config = data.draw(engines(programs))
    others = data.draw(st.sampled_from([[], [config]]))
    outcome = simulate(programs, gate, config=config, others=others, step_time=affine(), stepwise=False)
    assert len(outcome.programs) == sum(1 for top in programs for _ in top.family())


@both_modes
def test_policies_see_sub_agents_as_programs_that_arrive_when_they_do(stepwise: bool) -> None:
    # With room for one turn at a time, the order of program arrival puts c, which came last, behind s.
    family, other = root(child("c", 1, 0, 1)), program("s", turn(4, 1), at=0.5)
    outcome = simulate([family, other], "program-fifo", config=engine(1000, seqs=1), stepwise=stepwise)
    assert [(t.program, t.scheduled_s) for t in outcome.turns] == [("r", 0.0), ("s", 1.0), ("c", 2.0), ("r", 3.0)]


@st.composite
def cases(draw: st.DrawFn, times: st.SearchStrategy[float]) -> tuple[list[Program], Any, ToolConfig]:
    programs = draw(families(times, times))
    return programs, draw(engines(programs)), draw(tool_configs())


def check(case: tuple[list[Program], Any, ToolConfig], policy: str, step_time: StepTime) -> None:
    """Check that both modes agree, and everything that must hold for any family."""
    programs, config, tools = case
    runs: list[Outcome] = []
    for stepwise in (True, False):
        how: dict[str, Any] = {"config": config, "step_time": step_time, "stepwise": stepwise, "tools": tools}
        runs.append(simulate(programs, policy, **how, observer=InvariantObserver(config)))
    assert_same_runs(*runs)
    outcome = runs[0]
    records = {record.program: record for record in outcome.programs}
    outcomes = ToolOutcomes(tools)
    for top in programs:
        for member in top.family():
            record = records[member.program_id]
            turns = [outcome.of(member.program_id, index) for index in range(len(member.turns))]
            parts_s = record.queue_s + record.prefill_s + record.decode_s + record.preempted_s + record.tool_s
            parts_s += record.tool_wait_s + record.join_s
            assert parts_s == pytest.approx(record.jct_s, rel=1e-9, abs=1e-6)
            gaps_s = [outcomes.gap_s(member.program_id, i, asked) for i, asked in enumerate(member.turns)]
            for index, (before, after) in enumerate(pairwise(turns)):
                assert after.arrival_s >= before.finish_s + gaps_s[index] - 1e-6
            for born in member.children:
                theirs = records[born.program.program_id]
                assert theirs.parent == member.program_id
                assert theirs.arrival_s == turns[born.after_turn].finish_s
                until_s = record.finish_s if born.join_turn is None else turns[born.join_turn].arrival_s
                assert theirs.finish_s <= until_s + 1e-6
    assert len(records) == sum(1 for top in programs for _ in top.family())


@settings(max_examples=4, deadline=None)
@given(case=cases(SOME), policy=policies)
def test_any_family_in_both_modes(case: tuple[list[Program], Any, ToolConfig], policy: str) -> None:
    check(case, policy, affine())


@settings(max_examples=4, deadline=None)
@given(case=cases(EIGHTHS), policy=policies)
def test_any_family_when_everything_coincides(case: tuple[list[Program], Any, ToolConfig], policy: str) -> None:
    check(case, policy, constant(0.125))


@pytest.mark.slow
@pytest.mark.repeats
@pytest.mark.parametrize("coinciding", [False, True])
def test_many_families(coinciding: bool) -> None:
    times, step_time = (EIGHTHS, constant(0.125)) if coinciding else (SOME, affine())

    @settings(max_examples=150, deadline=None)
    @given(case=cases(times), policy=policies)
    def same(case: tuple[list[Program], Any, ToolConfig], policy: str) -> None:
        check(case, policy, step_time)

    same()


@settings(max_examples=3, deadline=None)
@given(case=cases(SOME), routing=st.sampled_from(["least-loaded", "round-robin", "session-affinity"]))
def test_any_family_on_a_cluster(case: tuple[list[Program], Any, ToolConfig], routing: str) -> None:
    programs, config, tools = case
    how: dict[str, Any] = {"config": config, "others": [config], "routing": routing, "tools": tools}
    runs = [simulate(programs, "ttl", **how, step_time=affine(), stepwise=stepwise) for stepwise in (True, False)]
    assert_same_runs(*runs)
    assert len(runs[0].programs) == sum(1 for top in programs for _ in top.family())
