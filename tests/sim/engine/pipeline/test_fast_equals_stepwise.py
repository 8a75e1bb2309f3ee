"""Batches that take turns without the scheduler decide the same, at the same times, as every step planned by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.pipeline.stages import StageTimes
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import Program
from support.builds import replaces_methods
from support.compare import assert_same_runs
from support.programs import engine, program, turn
from support.runs import simulate
from support.steptimes import Bent, constant, unequal
from support.strategies import cases, engines, families, impatient, policies, staged, tool_configs

Case = tuple[list[Program], EngineConfig]
eighths = st.integers(0, 24).map(lambda k: k / 8)


def check(case: Case, policy: str, times: StepTime) -> None:
    programs, config = case
    runs = [simulate(programs, policy, config=config, step_time=times, stepwise=each) for each in (True, False)]
    assert_same_runs(*runs)
    assert runs[0].totals.busy_s == pytest.approx(runs[1].totals.busy_s)


@settings(max_examples=12)
@given(case=cases().flatmap(staged), policy=policies)
def test_with_unequal_stages(case: Case, policy: str) -> None:
    check(case, policy, unequal(case[1].pipeline_parallel_size))


@settings(max_examples=8)
@given(case=cases(several_groups=False).flatmap(staged), policy=policies)
def test_with_steps_that_have_no_closed_form(case: Case, policy: str) -> None:
    check(case, policy, StageTimes([Bent()] * case[1].pipeline_parallel_size))


@settings(max_examples=8)
@given(case=cases(gaps=eighths, arrivals=eighths).flatmap(staged), policy=policies)
def test_when_everything_coincides(case: Case, policy: str) -> None:
    check(case, policy, StageTimes([constant(0.125)] * case[1].pipeline_parallel_size))


@settings(max_examples=8)
@given(data=st.data(), case=cases().flatmap(staged), policy=policies)
def test_with_clients_that_leave_or_are_refused(data: st.DataObject, case: Case, policy: str) -> None:
    programs, config = case
    clients, config = data.draw(impatient(config))
    times = unequal(config.pipeline_parallel_size)
    runs = [
        simulate(programs, policy, config=config, step_time=times, stepwise=stepwise, clients=clients)
        for stepwise in (True, False)
    ]
    assert_same_runs(*runs, answered=False)


@settings(max_examples=8)
@given(data=st.data(), policy=policies, routing=st.sampled_from(["round-robin", "least-loaded", "session-affinity"]))
def test_with_replicas_families_and_tools(data: st.DataObject, policy: str, routing: str) -> None:
    programs = data.draw(families(eighths, eighths))
    one, config = data.draw(staged((programs, data.draw(engines(programs)))))
    tools, times = data.draw(st.none() | tool_configs()), unequal(config.pipeline_parallel_size)
    runs = [
        simulate(
            one, policy, config=config, others=[config], routing=routing, tools=tools, step_time=times, stepwise=each
        )
        for each in (True, False)
    ]
    assert_same_runs(*runs)


@replaces_methods
def test_rounds_are_what_fast_mode_is_fast_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two batches that decode 400 tokens the scheduler plans a handful of steps; the times are the same."""
    config = replace(engine(2000), pipeline_parallel_size=2, async_scheduling=True)
    programs = [program("a", turn(64, 400)), program("b", turn(64, 400))]
    planned = {True: 0, False: 0}
    schedule = Scheduler.schedule
    for stepwise in planned:

        def counted(self: Scheduler, now_s: float, stepwise: bool = stepwise) -> Plan:
            planned[stepwise] += 1
            return schedule(self, now_s)

        monkeypatch.setattr(Scheduler, "schedule", counted)
        simulate(programs, config=config, step_time=unequal(2), stepwise=stepwise)
    assert planned[True] > 800
    assert planned[False] < 40
