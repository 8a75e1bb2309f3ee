"""JCT alone: the baseline of slowdown."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import continuum_sim as cs
from continuum_sim.engine.config import EngineConfig
from continuum_sim.results.summary import Quantiles
from continuum_sim.runs.alone import alone_on, lone_jct_s
from continuum_sim.runs.alone_drafted import has_room_for_drafts, lone_drafted_jct_s
from continuum_sim.setup.resolve import resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import Child, Program
from continuum_sim.world.drafts import DraftDraws
from support.programs import program, turn
from support.runs import simulate
from support.steptimes import Bent, affine, constant
from support.strategies import cases, drafting, families

SMALL: dict[str, Any] = {"block_size": 4, "kv_blocks": 200, "max_num_batched_tokens": 64, "max_num_seqs": 8}


@settings(max_examples=40)
@given(case=cases(several_groups=False), step_time=st.sampled_from([affine(), Bent()]))
def test_worked_out_it_is_what_the_simulator_takes(
    case: tuple[list[Program], EngineConfig], step_time: StepTime
) -> None:
    programs, config = case
    for one in programs:
        alone = replace(one, arrival_s=0.0)
        outcome = simulate([alone], config=config, step_time=step_time, stepwise=False)
        assert lone_jct_s(one.turns, config, step_time) == outcome.programs[0].jct_s


@settings(max_examples=30)
@given(data=st.data(), step_time=st.sampled_from([affine(), Bent()]))
def test_with_drafts_it_is_what_the_simulator_takes(data: st.DataObject, step_time: StepTime) -> None:
    programs, config = data.draw(cases(several_groups=False))
    config = replace(data.draw(drafting(config)), enable_chunked_prefill=True, watermark=0.0)
    config = replace(config, num_gpu_blocks=3_000, max_model_len=1_000)
    for one in programs:
        if has_room_for_drafts(one, config):
            alone = replace(one, arrival_s=0.0)
            outcome = simulate([alone], config=config, step_time=step_time, seed=7)
            jct_s = lone_drafted_jct_s(alone, config, step_time, DraftDraws(7))
            assert jct_s == pytest.approx(outcome.programs[0].jct_s, rel=1e-12)


@settings(max_examples=6)
@given(made=families(st.sampled_from([0.0, 0.5, 2.0]), st.just(0.0)))
def test_a_family_alone_is_slowed_down_by_nothing(made: list[Program]) -> None:
    summary = cs.run([replace(made[0], arrival_s=None)], "lru", arrivals="burst", step_time=affine(), **SMALL).summary
    assert isinstance(summary.slowdown, Quantiles)
    assert (summary.slowdown.mean, summary.slowdown.max) == (1.0, 1.0)


def test_it_does_not_depend_on_the_policy_nor_on_what_the_tools_do() -> None:
    agents = [program(name, turn(40, 9, gap=5.0), turn(60, 9), at=None) for name in "abc"]
    plain = cs.run(agents, "lru", arrivals="burst", step_time=constant(), **SMALL)
    other = cs.run(
        agents, "ttl", arrivals="poisson:rate=1", step_time=constant(), tool_workers=1, tool_failure_rate=0.9, **SMALL
    )
    # A step for each prompt (both fit the budget), 8 for the tokens after the first, and the tool.
    assert plain.programs["alone_s"].tolist() == other.programs["alone_s"].tolist() == [1 + 8 + 5 + 1 + 8] * 3


def test_sub_agents_have_none_and_their_time_is_their_parents() -> None:
    child = program("child", turn(8, 31), at=None)
    parent = replace(program("parent", turn(8, 1), turn(16, 1), at=None), children=(Child(child, 0, 1),))
    settings: dict[str, Any] = {"arrivals": "burst", "step_time": constant(), **SMALL}
    rows = cs.run([parent], "lru", **settings, async_scheduling=False).programs.set_index("program")
    assert rows["alone_s"]["parent"] == rows["jct_s"]["parent"] == 1 + 31 + 1
    rows = cs.run([parent], "lru", **settings).programs.set_index("program")
    # A step is planned in vain behind each end that only the model decides, and the next turn waits for it.
    assert rows["alone_s"]["parent"] == rows["jct_s"]["parent"] == 1 + 1 + 31 + 1 + 1
    assert rows["alone_s"].isna()["child"]


def test_in_a_cluster_it_is_alone_on_the_fastest_replica() -> None:
    settings: dict[str, Any] = {"limit": 3, "max_turns": 3, "arrivals": "burst"}
    slow, fast, both = (
        cs.run(policy="lru", **gpus, **settings).programs.set_index("program")["alone_s"].sort_index()
        for gpus in ({"gpu": "a100-80"}, {"gpu": "h100"}, {"replicas": "a100-80:1,h100:1"})
    )
    assert (fast < slow).all()
    assert (both == fast).all()


def test_a_program_under_another_name_is_worked_out_once() -> None:
    asked = []

    class Counted(Bent):
        __hash__ = None  # type: ignore[assignment]

        def run_s(self, batch: Any, n_steps: int) -> float:
            asked.append(batch)
            return super().run_s(batch, n_steps)

    one = program("one", turn(40, 9), at=None)
    alone_s = alone_on(resolve(RunConfig(trace=[one], step_time=Counted(), **SMALL)))
    first = alone_s(one)
    calls = len(asked)
    assert calls > 0
    assert alone_s(replace(one, program_id="one#2")) == first
    assert len(asked) == calls
