"""vLLM's controls of prefills, seats and order: schedules worked out by hand, and both modes compared."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import continuum_sim as cs
from continuum_sim.engine.config import EngineConfig
from continuum_sim.errors import ConfigError
from continuum_sim.policies import PolicyError
from continuum_sim.traces.schema import Program
from support.compare import assert_same_runs
from support.invariants import InvariantObserver
from support.programs import engine, program, turn
from support.runs import simulate
from support.schedule import Step, schedule_of
from support.steptimes import affine, constant
from support.strategies import cases

Case = tuple[list[Program], EngineConfig]


def steps_of(agents: list[Program], config: EngineConfig, **controls: Any) -> list[Step]:
    return schedule_of(agents, config=replace(config, **controls))[0]


def batches(agents: list[Program], config: EngineConfig, **controls: Any) -> list[dict[str, int]]:
    return [step.batch for step in steps_of(agents, config, **controls)]


# Thresholds ---------------------------------------------------------------------------------------------------


def test_a_threshold_cuts_every_prompt_and_lets_several_be_computed_at_once() -> None:
    agents = [program("a", turn(20, 2)), program("b", turn(12, 1)), program("c", turn(3, 1))]
    assert batches(agents, engine(40, budget=64), long_prefill_token_threshold=8) == [
        {"a": 8, "b": 8, "c": 3},
        {"a": 8, "b": 4},
        {"a": 4},
        {"a": 1},
    ]


def test_a_turn_that_is_alone_has_the_whole_budget() -> None:
    agents = [program("a", turn(40, 1)), program("b", turn(8, 1), at=0.5)]
    assert batches(agents, engine(40, budget=16), long_prefill_token_threshold=4) == [
        {"a": 16},  # alone
        {"a": 4, "b": 4},
        {"a": 4, "b": 4},
        {"a": 16},  # alone again
    ]


def test_an_adaptive_threshold_is_the_fair_share_if_that_is_more() -> None:
    agents = [program(name, turn(40, 1)) for name in "ab"]
    controls = {"long_prefill_token_threshold": 8, "long_prefill_token_threshold_adaptive": True}
    assert batches(agents, engine(40, budget=64), **controls)[0] == {"a": 32, "b": 32}
    assert batches(agents, engine(40, budget=12), **controls)[0] == {"a": 8, "b": 4}


def test_where_the_budget_ends_the_order_of_the_batch_decides() -> None:
    agents = [program("a", turn(30, 1)), program("b", turn(4, 9)), program("c", turn(30, 1))]
    # From the second step on: 6 for a, 1 for b, and what is left of 8 for c.
    assert batches(agents, engine(40, budget=8), long_prefill_token_threshold=6)[1:4] == [
        {"a": 6, "b": 2},
        {"a": 6, "b": 1, "c": 1},
        {"a": 6, "b": 1, "c": 1},
    ]


# The cadence of prefills (0.33) ---------------------------------------------------------------------------------


def cadence(agents: list[Program], interval: int, config: EngineConfig) -> list[dict[str, int]]:
    return batches(agents, config, vllm_version="0.33", prefill_schedule_interval=interval)


def test_a_prompt_waits_until_the_interval_has_passed() -> None:
    agents = [program("a", turn(4, 8)), program("b", turn(4, 1), at=0.5)]
    assert cadence(agents, 4, engine(40))[:5] == [{"a": 4}, {"a": 1}, {"a": 1}, {"a": 1}, {"a": 1, "b": 4}]
    assert cadence(agents, 1, engine(40))[:2] == [{"a": 4}, {"a": 1, "b": 4}]


def test_a_step_that_leaves_turns_waiting_ends_the_holding_and_running_prompts_are_held_too() -> None:
    agents = [program("a", turn(4, 9)), program("b", turn(4, 1)), program("c", turn(4, 1))]
    assert cadence(agents, 4, engine(40, budget=4))[:7] == [
        {"a": 4},  # b and c still wait
        {"a": 1, "b": 3},  # c still waits
        {"a": 1, "b": 1, "c": 2},
        {"a": 1},
        {"a": 1},
        {"a": 1},
        {"a": 1, "c": 2},
    ]


def test_a_turn_that_lacks_one_token_is_not_held_and_does_not_begin_the_interval_anew() -> None:
    agents = [
        program("a", turn(9, 8), shared=("system", 8)),
        program("b", turn(9, 1), at=0.5, shared=("system", 8)),
        program("c", turn(4, 1), at=0.5),
    ]
    assert cadence(agents, 3, engine(40))[:4] == [{"a": 9}, {"a": 1, "b": 1}, {"a": 1}, {"a": 1, "c": 4}]


def test_nothing_is_held_while_nothing_decodes() -> None:
    agents = [program("a", turn(4, 1)), program("b", turn(12, 1), at=0.5)]
    assert cadence(agents, 9, engine(40, budget=8)) == [{"a": 4}, {"b": 8}, {"b": 4}]


# Seats, chunks, cache ------------------------------------------------------------------------------------------


def test_fewer_turns_may_be_active_than_there_are_seats() -> None:
    agents = [program(name, turn(4, 2)) for name in "abc"]
    assert batches(agents, engine(40), max_num_active_seqs=2) == [
        {"a": 4, "b": 4},
        {"a": 1, "b": 1},
        {"c": 4},
        {"c": 1},
    ]


def test_without_chunks_a_prompt_waits_for_a_step_that_holds_it() -> None:
    agents = [program("a", turn(10, 2)), program("b", turn(8, 1))]
    config = engine(40, budget=16, max_model_len=16)
    assert batches(agents, config) == [{"a": 10, "b": 6}, {"a": 1, "b": 2}]
    assert batches(agents, config, enable_chunked_prefill=False) == [{"a": 10}, {"a": 1, "b": 8}]


def test_without_prefix_caching_nothing_is_found_again() -> None:
    agents = [program("a", turn(8, 1, gap=1.0), turn(12, 1), shared=("system", 8)), program("b", turn(8, 1), at=5.0)]
    found = steps_of(agents, engine(40), enable_prefix_caching=False)
    assert [step.admitted for step in found] == [{"a": 0}, {"a": 0}, {"b": 0}]
    assert found[-1].free == 40 - 2


# Priorities ----------------------------------------------------------------------------------------------------


def test_the_lowest_priority_goes_first_and_the_highest_is_preempted() -> None:
    agents = [
        replace(program("slow", turn(7, 9)), priority=5),
        program("first", turn(7, 9), at=0.5),
        replace(program("urgent", turn(4, 1), at=0.5), priority=-1),
    ]
    for policy, second, preempted in (("priority", "urgent first", "slow"), ("fcfs", "first urgent", "first")):
        steps = steps_of(agents, engine(5), scheduling_policy=policy)
        assert list(steps[1].batch) == ["slow", *second.split()]
        assert next(step.preempted for step in steps if step.preempted) == [preempted]


@pytest.mark.parametrize(("version", "others"), [("0.32", {}), ("0.33", {"urgent": 1})])
def test_a_turn_that_preempts_itself_stops_the_others_of_its_step_on_the_older_version(
    version: str, others: dict[str, int]
) -> None:
    agents = [replace(program("slow", turn(7, 9)), priority=5), program("urgent", turn(7, 4), at=0.5)]
    steps = steps_of(agents, engine(4), scheduling_policy="priority", vllm_version=version)
    assert (steps[2].preempted, steps[2].batch) == (["slow"], others)


@pytest.mark.parametrize("policy", ["program-fifo", "session-gate:limit=2", "autellix"])
def test_an_order_of_its_own_excludes_priorities(policy: str) -> None:
    with pytest.raises(PolicyError, match="has an order of its own, and so has --scheduling-policy priority"):
        cs.run([program("a", turn(4, 1), at=None)], policy, scheduling_policy="priority", arrivals="burst")


# Refusals and defaults -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ({"max_num_active_seqs": 9}, "max_num_active_seqs is 9, expected 1 to max_num_seqs"),
        ({"long_prefill_token_threshold": 5000}, "long_prefill_token_threshold is 5000, expected 0 to max_model_len"),
        ({"enable_chunked_prefill": False}, "without chunked prefill a step must hold the longest prompt"),
        ({"vllm_version": "0.31"}, "vllm_version is '0.31', expected 0.32 or 0.33"),
        ({"prefill_schedule_interval": 0, "vllm_version": "0.33"}, "prefill_schedule_interval is 0, expected at least"),
        ({"prefill_schedule_interval": 8}, "on vLLM 0.32 it acts with data parallelism only: give --vllm-version 0.33"),
        ({"scheduling_policy": "edf"}, "scheduling_policy is 'edf', expected fcfs or priority"),
    ],
)
def test_what_vllm_refuses_is_refused(controls: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(engine(40, seqs=8), **controls)


def test_a_pin_needs_the_prefix_cache() -> None:
    with pytest.raises(ConfigError, match="policy 'ttl' keeps contexts for the next turn"):
        cs.run([program("a", turn(4, 1), at=None)], "ttl", enable_prefix_caching=False, arrivals="burst")


def test_without_chunks_the_default_budget_holds_the_longest_prompt() -> None:
    run = cs.run([program("a", turn(4, 1), at=None)], "lru", enable_chunked_prefill=False, arrivals="burst")
    engine_config = run.manifest["engine_config"]
    assert engine_config["max_num_batched_tokens"] == engine_config["max_model_len"] == 131072


# Any trace -----------------------------------------------------------------------------------------------------


@st.composite
def without_rules(draw: st.DrawFn) -> Case:
    """A case in which vLLM's own order and cache are set as well."""
    programs, config = draw(cases())
    programs = [replace(each, priority=draw(st.integers(-1, 2))) for each in programs]
    policy = draw(st.sampled_from(["fcfs", "priority"]))
    states = any(group.kind == "recurrent" for group in config.kv_cache_groups)  # with blocks for prefixes
    return programs, replace(config, scheduling_policy=policy, enable_prefix_caching=states or draw(st.booleans()))


@settings(max_examples=15)
@given(case=without_rules(), policy=st.sampled_from(["lru", "fcfs"]), seconds=st.sampled_from([None, 0.125]))
def test_jumps_and_single_steps_agree(case: Case, policy: str, seconds: float | None) -> None:
    programs, config = case
    step_time = affine() if seconds is None else constant(seconds)
    runs = [
        simulate(
            programs,
            policy,
            config=config,
            step_time=step_time,
            stepwise=stepwise,
            observer=InvariantObserver(config),
        )
        for stepwise in (True, False)
    ]
    assert_same_runs(*runs)
    assert runs[0].simulation.scheduler.pool.free == config.usable_blocks
