"""Pipelines against closed forms: fill and drain, bubbles, and what stands in for a stage's own model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from continuum_sim.engine.pipeline.stages import Pipeline, StageTimes, stage_times
from continuum_sim.engine.rebuild import prefill_s
from continuum_sim.errors import ConfigError
from continuum_sim.steptime.batch import StepBatch, prefill_of
from continuum_sim.steptime.scaled import Scaled
from continuum_sim.traces.schema import MAX_TOKENS_FINISH, Program
from support.programs import engine, program, turn
from support.runs import Outcome, simulate
from support.steptimes import Bent, affine, constant, unequal

DECODE = StepBatch(0, 0, 0, 0, 1, 40)


def equal(stages: int, seconds: float = 1.0, send_s: float = 0.0) -> StageTimes:
    return StageTimes([constant(seconds)] * stages, lambda batch: send_s)


def run(programs: list[Program], stages: int, *, ahead: bool, times: StageTimes | None = None) -> Outcome:
    config = replace(engine(2000, budget=64, seqs=64), pipeline_parallel_size=stages, async_scheduling=ahead)
    limited = [
        replace(one, turns=tuple(replace(each, finish=MAX_TOKENS_FINISH) for each in one.turns)) for one in programs
    ]
    return simulate(limited, config=config, step_time=times or equal(stages))


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("stages", [2, 3, 4])
def test_one_turn_fills_the_stages_with_its_prompt_and_decodes_in_one_at_a_time(stages: int, ahead: bool) -> None:
    outcome = run([program("a", turn(5 * 64, 4))], stages, ahead=ahead)
    assert outcome.of("a").first_token_s == 5 + stages - 1
    assert outcome.of("a").finish_s == 5 + stages - 1 + 3 * stages


@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize(("stages", "turns"), [(2, 1), (3, 2), (4, 1), (4, 3), (4, 4), (3, 6)])
def test_batches_fewer_than_stages_leave_bubbles(stages: int, turns: int, ahead: bool) -> None:
    """Prompts as long as the budget enter one after the other, so each turn decodes in a batch of its own."""
    tokens = 200
    outcome = run([program(f"p{n}", turn(64, tokens)) for n in range(turns)], stages, ahead=ahead)
    pipeline = outcome.simulation.cluster.replicas[0].pipeline
    assert pipeline is not None
    batches, end_s = min(turns, stages), outcome.totals.end_s
    assert 1 - sum(pipeline.busy_s) / stages / end_s == pytest.approx((stages - batches) / stages, abs=0.03)
    for record in outcome.turns:
        gap_s = (record.finish_s - record.first_token_s) / (tokens - 1)
        assert gap_s == pytest.approx(stages, abs=turns / (tokens - 1))  # a token takes every stage


@pytest.mark.parametrize("ahead", [False, True])
def test_the_slowest_of_unequal_stages_sets_the_pace(ahead: bool) -> None:
    times = StageTimes([constant(1.0), constant(3.0), constant(0.5)], lambda batch: 0.25)
    outcome = run([program("a", turn(64 * 20, 1))], 3, ahead=ahead, times=times)
    assert outcome.of("a").first_token_s == 1 + 0.25 + 20 * 3 + 0.25 + 0.5


def test_a_chunk_waits_neither_for_the_one_before_to_leave_nor_for_a_token() -> None:
    times = equal(4, send_s=0.5)
    assert times.step_s(prefill_of(8)) == 4 + 3 * 0.5
    assert times.run_s(prefill_of(8), 6) == 5 + 4 + 3 * 0.5
    assert times.run_s(DECODE, 6) == 6 * (4 + 3 * 0.5)


@pytest.mark.parametrize("tokens", [1, 64, 65, 1000])
def test_a_prompt_alone_takes_as_long_as_policies_are_told(tokens: int) -> None:
    times = unequal(3)
    outcome = run([program("a", turn(tokens, 1))], 3, ahead=False, times=times)
    assert prefill_s(times, tokens, 64) == pytest.approx(outcome.of("a").first_token_s)


@given(data=st.data(), stages=st.integers(2, 4), steps=st.integers(1, 30), decodes=st.booleans())
def test_runs_and_steps_agree(data: st.DataObject, stages: int, steps: int, decodes: bool) -> None:
    models = st.sampled_from([constant(0.5), affine(), Bent(), Scaled(affine(), 0.3)])
    times = StageTimes(data.draw(st.lists(models, min_size=stages, max_size=stages)), lambda batch: 0.01)
    batch = DECODE if decodes else prefill_of(8)
    ends_s = [times.run_s(batch, n) for n in range(1, steps + 1)]
    assert ends_s == sorted(ends_s)
    assert ends_s[0] == times.step_s(batch)
    wanted_s = data.draw(st.floats(0, ends_s[-1] * 1.1))
    found = times.steps_to_reach(batch, steps, wanted_s)
    assert found == next((n for n, end_s in enumerate(ends_s, 1) if end_s >= wanted_s), steps)


@given(share=st.floats(0.01, 1.0), steps=st.integers(1, 50), part=st.floats(0, 1.2))
def test_a_share_of_a_model_is_one_itself(share: float, steps: int, part: float) -> None:
    times, batch = Scaled(affine(), share), DECODE
    assert times.step_s(batch) == pytest.approx(affine().step_s(batch) * share)
    wanted_s = times.run_s(batch, steps) * part
    found = times.steps_to_reach(batch, steps, wanted_s)
    assert found == steps or times.run_s(batch, found) >= wanted_s
    assert found == 1 or times.run_s(batch, found - 1) < wanted_s
    assert times.describe()["share"] == share


def test_tokens_are_waited_for_as_many_calls_later_as_there_are_stages() -> None:
    pipeline = Pipeline(equal(2))
    pipeline.samples(1, 7.0)
    assert pipeline.tokens_ready_s(2) == 0.0
    assert pipeline.tokens_ready_s(3) == 7.0
    assert pipeline.tokens_ready_s(4) == 0.0


def test_the_stages_must_be_those_of_the_engine() -> None:
    assert stage_times(equal(3), 3).describe()["stages"] == [constant(1.0).describe()] * 3
    assert equal(3, send_s=0.5).describe()["send_s"] == {"1": 0.5, "1024": 0.5, "8192": 0.5}
    with pytest.raises(ConfigError, match="pipeline_parallel_size is 2, but the step-time model has 3"):
        stage_times(equal(3), 2)
    with pytest.raises(ConfigError, match="pipeline_parallel_size is 2, but the step-time model has 1"):
        stage_times(constant(1.0), 2)
