"""Contexts that come back from host memory and the SSD, worked out by hand (blocks of 4 tokens, steps of 1 s)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.errors import ConfigError
from continuum_sim.traces.schema import Program
from support.compare import assert_same_runs
from support.invariants import InvariantObserver
from support.programs import engine, program, turn
from support.runs import Outcome, simulate
from support.schedule import Step, schedule_of
from support.steptimes import affine, constant
from support.strategies import cases, policies, tiered

A = program("a", turn(8, 1, gap=10.0), turn(9, 1))
"""Parks 2 blocks from 1 to 11 s and comes back for them."""
B = program("b", turn(20, 1), at=2.0)
"""Takes 5 of 6 blocks at 2 s: the 4 that were never used, and the tail one of a's 2."""


def above(tiers: TierConfig, usable: int = 6) -> EngineConfig:
    return replace(engine(usable), tiers=tiers)


def dram(blocks: int = 20, block_s: float = 0.25, **rest: float) -> TierConfig:
    return TierConfig(blocks, block_s, reload="always", **rest)  # type: ignore[arg-type]


def test_an_evicted_context_comes_back() -> None:
    steps, outcome = schedule_of([A, B], config=above(dram(), 5))
    # Copies: a's 2 blocks from 1 to 1.5 s, b's 5 from 3 to 4.25 s. a's come back from 11 to 11.5 s.
    assert steps == [
        Step(0.0, {"a": 8}, 3, {"a": 0}),
        Step(2.0, {"b": 20}, 0, {"b": 0}),
        Step(11.0, {}, 2),
        Step(11.0, {}, 2),
        Step(11.5, {"a": 1}, 2, {"a": 8}),
    ]
    back = outcome.of("a", 1)
    assert (back.cached_tokens, back.reloaded_tokens, back.computed_tokens) == (0, 8, 1)
    assert (back.scheduled_s, back.reload_s, back.finish_s) == (11.5, 0.5, 12.5)
    a = next(p for p in outcome.programs if p.program == "a")
    assert (a.queue_s, a.reload_s, a.prefill_s, a.tool_s, a.jct_s) == (0.0, 0.5, 2.0, 10.0, 12.5)
    (used,) = outcome.totals.tiers
    assert (used.name, used.peak_used_blocks, used.written_blocks, used.read_blocks) == ("dram", 7, 7 + 0, 2)
    assert used.link_busy_s == 0.5 + 1.25 + 0.5
    assert outcome.events("admit", "reload")[-2:] == [("admit", 11.0, "a", 1), ("reload", 11.0, "a", 1)]


def test_what_is_still_cached_is_not_reloaded() -> None:
    _, outcome = schedule_of([A, B], config=above(dram()))
    back = outcome.of("a", 1)
    assert (back.cached_tokens, back.reloaded_tokens, back.reload_s) == (4, 4, 0.25)


def test_others_go_on_meanwhile() -> None:
    # c decodes through; a's blocks come at 11.5 s, in the middle of a step, and a joins the next one.
    c = program("c", turn(3, 20))
    config = above(dram(), 10)
    steps, outcome = schedule_of([A, c, program("b", turn(20, 1), at=2.0)], config=config)
    assert outcome.of("a", 1).reload_s == 0.5 - 0.25 * (outcome.of("a", 1).cached_tokens // 4)
    assert outcome.of("a", 1).scheduled_s == 12.0
    assert [step.batch for step in steps if 11.0 <= step.start_s <= 13.0] == [{"c": 1}, {"c": 1, "a": 1}, {"c": 1}]


def test_copies_of_others_are_in_the_way() -> None:
    # b's copy takes 5 blocks of 2 s, from 3 s, behind a's (1 to 5 s): until 15 s. Then a's two: until 19 s.
    _, outcome = schedule_of([A, B], config=above(dram(block_s=2.0), 5))
    assert outcome.of("a", 1).reload_s == 8.0
    assert outcome.of("a", 1).scheduled_s == 19.0


def test_slow_links_are_left_alone_unless_told_otherwise() -> None:
    tiers = replace(dram(block_s=60.0), reload="faster")
    _, outcome = schedule_of([A, B], config=above(tiers, 5))
    back = outcome.of("a", 1)
    assert (back.cached_tokens, back.reloaded_tokens, back.computed_tokens, back.recomputed_tokens) == (0, 0, 9, 8)
    assert back.scheduled_s == 11.0


def test_dram_spills_to_the_ssd() -> None:
    # DRAM holds 6 blocks: b's 5 leave room for a's first only; its second goes to the SSD (3 to 4 s).
    config = above(dram(6, ssd_blocks=20, ssd_block_s=1.0), 5)
    _, outcome = schedule_of([A, B], config=config)
    # The SSD's block is in host memory at 12 s and on the GPU at 12.25 s.
    assert outcome.of("a", 1).scheduled_s == 12.25
    assert outcome.of("a", 1).reloaded_tokens == 8
    # The block is copied to DRAM again as a's turn ends, and one of b's makes room.
    assert [(t.name, t.written_blocks, t.read_blocks) for t in outcome.totals.tiers] == [("dram", 8, 1), ("ssd", 2, 1)]
    _, without = schedule_of([A, B], config=above(dram(6), 5))
    assert without.of("a", 1).reloaded_tokens == 4, "without an SSD what DRAM evicts is lost"


def test_a_shared_prefix_comes_back_for_everybody() -> None:
    shared = ("system", 8)
    first = program("a", turn(12, 1), shared=shared)
    other = program("z", turn(12, 1), at=20.0, shared=shared)
    _, outcome = schedule_of([first, B, other], config=above(dram(), 5))
    assert outcome.of("z").reloaded_tokens == 8


def test_a_preempted_turn_reloads_what_was_taken() -> None:
    # a and c grow until one is missing: c, admitted last, yields its 2 blocks; a takes them as it grows.
    a, c = program("a", turn(8, 14)), program("c", turn(7, 14))
    config = above(dram(), 6)
    _, outcome = schedule_of([a, c], config=config)
    lost = outcome.of("c")
    assert lost.preemptions == 1
    assert lost.reloaded_tokens > 0
    assert lost.reload_s == 0.0, "it had been scheduled before"
    assert lost.computed_tokens + lost.reloaded_tokens >= 7 + 13


def test_what_a_program_drops_is_forgotten() -> None:
    a = program("a", turn(12, 1, gap=10.0), turn(13, 1, kept=5))
    _, outcome = schedule_of([a, B], config=above(dram(), 5))
    assert outcome.of("a", 1).reloaded_tokens == 4, "only the first block is still the same"


def test_an_engine_without_retention_stores_nothing() -> None:
    _, outcome = schedule_of([A, B], "fcfs", config=above(dram(), 5))
    assert outcome.totals.tiers[0].written_blocks == 0
    assert outcome.of("a", 1).reloaded_tokens == 0


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        (dram(4), "'b' needs 5 KV blocks, but the dram tier holds 4; give --dram-gb"),
        (dram(9, ssd_blocks=3), "'b' needs 5 KV blocks, but the ssd tier holds 3; give --ssd-gb"),
    ],
)
def test_a_tier_must_hold_the_largest_context(tiers: TierConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        simulate([A, B], config=above(tiers))


# Any trace, engine, policy and tiers ------------------------------------------------------------------------


Case = tuple[list[Program], EngineConfig]


@st.composite
def tiered_cases(draw: st.DrawFn, gaps: st.SearchStrategy[float] | None = None) -> Case:
    programs, config = draw(cases(gaps, gaps))
    return programs, draw(tiered(config))


def observed(case: Case, policy: str, *, stepwise: bool, seconds: float | None) -> Outcome:
    programs, config = case
    observer = InvariantObserver(config)
    step_time = affine() if seconds is None else constant(seconds)
    outcome = simulate(programs, policy, config=config, step_time=step_time, stepwise=stepwise, observer=observer)
    assert not observer.tokens
    assert not outcome.simulation.scheduler.reloading
    assert outcome.simulation.scheduler.pool.free == config.usable_blocks
    return outcome


@settings(max_examples=10)
@given(case=tiered_cases(), policy=policies)
def test_jumps_and_single_steps_agree(case: Case, policy: str) -> None:
    stepwise = observed(case, policy, stepwise=True, seconds=None)
    assert_same_runs(stepwise, observed(case, policy, stepwise=False, seconds=None))
    for done in stepwise.turns:
        asked = next(p for p in case[0] if p.program_id == done.program).turns[done.turn]
        assert done.reloaded_tokens % case[1].block_size == 0
        assert 0 <= done.reload_s <= done.scheduled_s - done.arrival_s
        if not done.preemptions:
            prefilled = done.computed_tokens - (asked.output_tokens - 1)
            assert prefilled + done.cached_tokens + done.reloaded_tokens == asked.input_tokens
    for record in stepwise.programs:
        parts_s = record.queue_s + record.reload_s + record.prefill_s + record.decode_s
        parts_s += record.preempted_s + record.tool_s
        assert parts_s == pytest.approx(record.jct_s, rel=1e-9, abs=1e-9)
    for tier in stepwise.totals.tiers:
        assert tier.peak_used_blocks <= tier.blocks
        assert 0 <= tier.link_busy_s <= stepwise.totals.end_s * (1 + 1e-9)


@settings(max_examples=6)
@given(case=tiered_cases(st.integers(0, 24).map(lambda k: k / 8)), policy=policies)
def test_jumps_and_single_steps_agree_when_all_coincides(case: Case, policy: str) -> None:
    stepwise = observed(case, policy, stepwise=True, seconds=0.125)
    assert_same_runs(stepwise, observed(case, policy, stepwise=False, seconds=0.125))


@pytest.mark.parametrize(
    "policy",
    [
        "tokencake",
        "tokencake:margin=0",
        "mori:period=1,buffer_tokens=2",
        "infercept:saturation=8",
        "infercept-oracle:saturation=8",
    ],
)
@settings(max_examples=4)
@given(case=tiered_cases(), seconds=st.sampled_from([None, 0.125]))
def test_rules_that_offload_by_themselves(policy: str, case: Case, seconds: float | None) -> None:
    stepwise = observed(case, policy, stepwise=True, seconds=seconds)
    fast = observed(case, policy, stepwise=False, seconds=seconds)
    assert_same_runs(stepwise, fast)
    offloads = stepwise.simulation.scheduler.governor.counts.offloads
    assert len(stepwise.events("offload")) == offloads == fast.simulation.scheduler.governor.counts.offloads
    if not offloads and stepwise.simulation.policy.retention.offloads:
        assert stepwise.totals.tiers[0].written_blocks == 0


@settings(max_examples=6)
@given(case=cases(several_groups=False), policy=policies)
def test_a_tier_too_slow_to_use_changes_no_decision(case: Case, policy: str) -> None:
    programs, config = case
    least = -(-(config.max_model_len - 1) // config.block_size)
    if policy.startswith(("ttl", "oracle-ttl", "infercept", "tokencake", "mori")):
        policy = "lru"  # these weigh what a reload takes, or act on there being a tier
    slow = replace(config, tiers=TierConfig(10 * least, 1e9, reload="faster"))
    with_tier = simulate(programs, policy, config=slow, step_time=affine(), stepwise=False)
    without = simulate(programs, policy, config=config, step_time=affine(), stepwise=False)
    assert with_tier.turns == without.turns
    assert with_tier.log == without.log
