"""Batches that take turns without the scheduler decide the same, at the same times, as every step planned by it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.pipeline.stages import StageTimes
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import Program
from support.compare import assert_same_runs
from support.runs import simulate
from support.steptimes import Bent, constant, unequal
from support.strategies import cases, policies, staged

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
