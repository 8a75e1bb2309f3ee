"""With drafts, too, jumping over steps decides the same, at the same times, as taking every step."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.speculation.config import EAGLE_METHODS, METHODS, SpeculationConfig
from continuum_sim.policies import PRESETS
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import Program
from support.compare import assert_same_runs
from support.programs import program, turn
from support.runs import simulate
from support.steptimes import Bent, affine, constant
from support.strategies import cases, drafting, offloading, policies

Case = tuple[list[Program], EngineConfig]
eighths = st.integers(0, 24).map(lambda k: k / 8)


def check(case: Case, policy: str, step_time: StepTime) -> None:
    programs, config = case
    runs = [
        simulate(programs, policy, config=config, step_time=step_time, stepwise=stepwise) for stepwise in (True, False)
    ]
    assert_same_runs(*runs, answered=False)


@settings(max_examples=20)
@given(data=st.data(), policy=policies, step_time=st.sampled_from([affine(), Bent(), constant(0.125)]))
def test_of_any_case(data: st.DataObject, policy: str, step_time: StepTime) -> None:
    programs, config = data.draw(cases(gaps=eighths, arrivals=eighths, several_groups=False))
    check((programs, data.draw(drafting(config))), policy, step_time)


@settings(max_examples=12)
@given(data=st.data(), policy=policies, step_time=st.sampled_from([affine(), Bent(), constant(0.125)]))
def test_above_native_offload(data: st.DataObject, policy: str, step_time: StepTime) -> None:
    programs, config = data.draw(cases(gaps=eighths, arrivals=eighths, several_groups=False))
    check((programs, data.draw(offloading(data.draw(drafting(config))))), policy, step_time)


@settings(max_examples=12)
@given(data=st.data(), window=st.integers(1, 60), policy=policies)
def test_beside_windows_chunks_and_states(data: st.DataObject, window: int, policy: str) -> None:
    programs, config = data.draw(cases(gaps=eighths, arrivals=eighths, several_groups=False))
    config = data.draw(drafting(config))
    assert config.speculation is not None
    method = data.draw(st.sampled_from([method for method in METHODS if method != "ngram"]))
    size, speculation = config.block_size, replace(config.speculation, method=method)
    kept = [GroupSpec("sliding", size, window)]
    if method not in EAGLE_METHODS:
        kept.append(GroupSpec("chunked", size, 2 * size))
    if config.enable_prefix_caching and config.enable_chunked_prefill:
        kept.append(GroupSpec("recurrent", size, checkpoints=data.draw(st.booleans())))
    config = replace(
        config,
        max_num_batched_tokens=config.max_num_batched_tokens + 1,
        speculation=speculation,
        kv_cache_groups=(data.draw(st.sampled_from(kept)), GroupSpec("full", size)),
        drafter_group=data.draw(st.none() | st.just(1)),
    )
    if config.kv_cache_groups[0].reach:
        interval = data.draw(st.sampled_from([0, None, 2 * size]))
        config = replace(config, prefix_cache_retention_interval=interval)
    least = config.blocks_of(config.max_model_len)
    check((programs, replace(config, num_gpu_blocks=max(config.num_gpu_blocks, least + 1))), policy, constant(0.125))


@pytest.mark.slow
@pytest.mark.repeats
@settings(max_examples=600)
@given(data=st.data(), policy=policies, step_time=st.sampled_from([affine(), Bent(), constant(0.125)]))
def test_of_many_cases(data: st.DataObject, policy: str, step_time: StepTime) -> None:
    programs, config = data.draw(cases(several_groups=False))
    check((programs, data.draw(drafting(config))), policy, step_time)


@pytest.mark.slow
@pytest.mark.repeats(share=7)
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_of_every_preset(name: str) -> None:
    programs = [
        program(f"p{i}", turn(300 + 40 * i, 90, gap=0.5), turn(500 + 40 * i, 150), at=0.3 * i) for i in range(8)
    ]
    for ahead in (False, True):
        speculation = SpeculationConfig("eagle3", 3, (0.8, 0.6, 0.4))
        config = EngineConfig(
            120,
            max_num_batched_tokens=256,
            max_num_seqs=64,
            max_model_len=1400,
            speculation=speculation,
            async_scheduling=ahead,
        )
        check((programs, config), name, affine())


@pytest.mark.parametrize("ahead", [False, True])
def test_a_lone_turn_takes_a_few_jumps(ahead: bool) -> None:
    """Not a step each: what a turn costs does not follow its tokens."""
    speculation = SpeculationConfig("eagle3", 3, (0.8, 0.6, 0.4))
    config = EngineConfig(1000, speculation=speculation, max_model_len=9000, async_scheduling=ahead)
    outcome = simulate([program("a", turn(500, 3000))], config=config, step_time=affine(), stepwise=False)
    assert outcome.totals.steps > 900
    assert len(outcome.stretches) < 10
