"""vLLM's native KV offload: what is stored when, what is loaded, what host memory evicts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.offload.host_cache import HostCache
from continuum_sim.engine.offload.host_policies import Access
from continuum_sim.engine.request import Context
from continuum_sim.errors import ConfigError
from continuum_sim.traces.schema import Program
from continuum_sim.world.clients import PATIENT, ClientConfig
from support.compare import assert_same_runs
from support.invariants import InvariantObserver
from support.programs import engine, program, turn
from support.runs import Outcome, simulate
from support.steptimes import affine, constant
from support.strategies import cases, impatient, offloading, policies

Case = tuple[list[Program], EngineConfig]

# By hand: blocks of 4 tokens, steps of 1 s ------------------------------------------------------------------


def host(blocks: int = 100, *, block_s: float = 0.25, prompt_only: bool = True) -> TierConfig:
    return TierConfig(blocks, block_s, reload="always", stores="steps", offload_prompt_only=prompt_only)


A = program("a", turn(12, 6, gap=10.0), turn(20, 1, kept=18))  # 4 full blocks in the end, of which the prompt has 3
B = program("b", turn(16, 5), at=7.0)  # takes all 5 blocks while a's tool runs


@pytest.mark.parametrize(("prompt_only", "reloaded"), [(True, 12), (False, 16)])
def test_the_next_turn_loads_what_was_stored_of_the_last(prompt_only: bool, reloaded: int) -> None:
    config = replace(engine(5), tiers=host(prompt_only=prompt_only))
    outcome = simulate([A, B], config=config)
    back = outcome.of("a", 1)
    assert (back.cached_tokens, back.reloaded_tokens, back.computed_tokens) == (0, reloaded, 20 - reloaded)
    assert back.reload_s == reloaded / 4 * 0.25
    assert outcome.totals.tiers[0].written_blocks == (9 if prompt_only else 10)


def test_a_prompt_that_is_there_to_its_last_token_computes_that_alone() -> None:
    again = program("c", turn(12, 1), at=30.0, shared=("system", 12))
    first = program("a", turn(12, 1), shared=("system", 12))
    outcome = simulate([first, B, again], config=replace(engine(5), tiers=host()))
    assert (outcome.of("c").reloaded_tokens, outcome.of("c").computed_tokens) == (12, 1)


def test_a_turn_takes_blocks_for_what_it_loads_alone() -> None:
    # a returns at 16 s and loads 3 blocks until 76 s; of the other 2 d takes 1, though a's prompt needs both.
    d = program("d", turn(2, 2), at=20.0)
    config = replace(engine(5), tiers=host(block_s=20.0))
    outcome = simulate([A, B, d], config=config)
    assert outcome.of("d").scheduled_s == 20.0
    assert outcome.of("a", 1).scheduled_s > 70.0


@pytest.mark.parametrize("ahead", [False, True])
def test_blocks_that_are_filled_by_decoding_are_stored_within_a_jump(ahead: bool) -> None:
    """Turns fill their blocks in different steps; 1,252 blocks are stored over a slow link in a handful of jumps."""
    programs = [program(name, turn(10 + 3 * k, 5000)) for k, name in enumerate("abcd")]
    large = engine(6000, block_size=16, max_model_len=10_000)
    config = replace(large, tiers=host(2000, block_s=2e-3, prompt_only=False), async_scheduling=ahead)
    outcome = simulate(programs, config=config, step_time=affine(), stepwise=False)
    assert len(outcome.stretches) <= 3
    stepwise = simulate(programs, config=config, step_time=affine())
    assert_same_runs(stepwise, outcome)
    assert outcome.totals.tiers[0].written_blocks == sum((9 + 3 * k + 5000) // 16 for k in range(4))


def test_it_has_no_ssd() -> None:
    with pytest.raises(ConfigError, match="without an SSD"):
        TierConfig(10, 0.1, ssd_blocks=10, stores="steps")


# What host memory evicts ------------------------------------------------------------------------------------


def stored(cache: HostCache, context: Context, stop: int) -> Access:
    """Let a request store the first blocks of a context."""
    access = Access(context)
    spans = cache.prepare_store(access, 0, stop)
    assert spans is not None
    cache.complete_store(access, spans)
    return access


def left(cache: HostCache, context: Context) -> list[int]:
    return [at for run in cache.held.within(context.own, 0, 99) for at in range(run.start, run.stop)]


@pytest.mark.parametrize(("ranks_requests", "kept"), [(False, [2, 3]), (True, [0, 1])])
def test_while_a_request_runs_its_front_goes_first_or_its_tail(ranks_requests: bool, kept: list[int]) -> None:
    cache, one, other = HostCache(6, "lru", ranks_requests=ranks_requests), Context(), Context()
    stored(cache, one, 4)
    stored(cache, other, 4)
    assert left(cache, one) == kept


def test_a_request_that_has_ended_counts_as_one_use_and_its_tail_goes_first() -> None:
    cache, one, other, third = HostCache(8, "lru", ranks_requests=False), Context(), Context(), Context()
    first = stored(cache, one, 4)
    second = stored(cache, other, 4)
    cache.request_finished(second)
    cache.request_finished(first)
    stored(cache, third, 5)
    assert (left(cache, one), left(cache, other)) == ([0, 1, 2], [])


def test_what_is_being_stored_makes_no_room() -> None:
    cache, one, other = HostCache(6, "lru", ranks_requests=False), Context(), Context()
    access = Access(one)
    assert cache.prepare_store(access, 0, 4) == [(0, 4)]
    assert cache.prepare_store(Access(other), 0, 4) is None
    cache.complete_store(access, [(0, 4)])
    assert cache.prepare_store(Access(other), 0, 4) == [(0, 4)]


def test_arc_keeps_what_several_requests_used() -> None:
    cache, one, other, third = HostCache(8, "arc", ranks_requests=False), Context(), Context(), Context()
    for _ in range(2):
        cache.request_finished(stored(cache, one, 4))
    cache.request_finished(stored(cache, other, 4))
    stored(cache, third, 4)
    assert (left(cache, one), left(cache, other)) == ([0, 1, 2, 3], [])


# Any trace, engine and policy -------------------------------------------------------------------------------


@st.composite
def offloading_cases(draw: st.DrawFn, gaps: st.SearchStrategy[float] | None = None) -> Case:
    programs, config = draw(cases(gaps, gaps))
    return programs, draw(offloading(config))


def observed(
    case: Case, policy: str, *, stepwise: bool, seconds: float | None, clients: ClientConfig = PATIENT
) -> Outcome:
    programs, config = case
    observer = InvariantObserver(config)
    step_time = affine() if seconds is None else constant(seconds)
    outcome = simulate(
        programs, policy, config=config, step_time=step_time, stepwise=stepwise, observer=observer, clients=clients
    )
    assert not observer.tokens
    assert not outcome.simulation.scheduler.reloading
    for tier in outcome.totals.tiers:
        assert tier.peak_used_blocks <= tier.blocks
    return outcome


@settings(max_examples=12)
@given(case=offloading_cases(), policy=policies)
def test_jumps_and_single_steps_agree(case: Case, policy: str) -> None:
    stepwise = observed(case, policy, stepwise=True, seconds=None)
    assert_same_runs(stepwise, observed(case, policy, stepwise=False, seconds=None))


@settings(max_examples=8)
@given(case=offloading_cases(st.integers(0, 24).map(lambda k: k / 8)), policy=policies)
def test_jumps_and_single_steps_agree_when_all_coincides(case: Case, policy: str) -> None:
    stepwise = observed(case, policy, stepwise=True, seconds=0.125)
    assert_same_runs(stepwise, observed(case, policy, stepwise=False, seconds=0.125))


@settings(max_examples=8)
@given(data=st.data())
def test_jumps_and_single_steps_agree_with_clients_that_leave(data: st.DataObject) -> None:
    programs, config = data.draw(cases(several_groups=False))
    clients, config = data.draw(impatient(config))
    case = programs, data.draw(offloading(config))
    runs = [observed(case, "lru", stepwise=stepwise, seconds=None, clients=clients) for stepwise in (True, False)]
    assert_same_runs(*runs, answered=False)
