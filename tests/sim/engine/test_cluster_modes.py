"""Clusters: jumping decides the same as stepping, at the same times and on the same replicas, and nothing is lost."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.policies import PRESETS
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import Program
from support.compare import assert_same_runs
from support.invariants import InvariantObserver
from support.runs import Outcome, simulate
from support.steptimes import Bent, affine, constant
from support.strategies import engines, policies, tiered, traces

ROUTERS = (
    "round-robin",
    "least-loaded",
    "session-affinity",
    "session-affinity:queue=0",
    "prefix-aware:match=0.1,balance_abs=1,balance_rel=1",
    "prefix-aware:index=events,match=0",
    "saga-placement:max_load=0.5",
    "autellix:short_tokens=20",
)

eighths = st.integers(0, 24).map(lambda k: k / 8)


@st.composite
def clusters(
    draw: st.DrawFn, times: st.SearchStrategy[float] | None = None
) -> tuple[list[Program], list[EngineConfig], str]:
    """Draw a trace, 2 or 3 engines that can serve it, and a router; any engine may have memory tiers."""
    programs = draw(traces(times, times))

    def one() -> EngineConfig:
        config = draw(engines(programs))
        return draw(tiered(config)) if draw(st.booleans()) else config

    first = one()
    alike = draw(st.booleans())
    others = [first if alike else one() for _ in range(draw(st.integers(1, 2)))]
    return programs, [first, *others], draw(st.sampled_from(ROUTERS))


def check(case: tuple[list[Program], list[EngineConfig], str], policy: str, step_time: StepTime) -> None:
    programs, configs, routing = case
    first, *others = configs
    stepwise, fast = (
        simulate(programs, policy, config=first, others=others, routing=routing, step_time=step_time, stepwise=stepwise)
        for stepwise in (True, False)
    )
    assert_same_runs(stepwise, fast)
    check_conserved(fast, programs)


def check_conserved(outcome: Outcome, programs: list[Program]) -> None:
    """Check that every turn ran once, on one replica, that every token was computed or hit, and that all is freed."""
    assert sorted((t.program, t.turn) for t in outcome.turns) == sorted(
        (p.program_id, k) for p in programs for k in range(len(p.turns))
    )
    for record in outcome.turns:
        needed = record.prompt_tokens + record.output_tokens - 1
        if not record.preemptions:
            assert record.computed_tokens + record.cached_tokens + record.reloaded_tokens == needed
    for replica in outcome.simulation.cluster.replicas:
        scheduler = replica.scheduler
        assert scheduler.pool.free == scheduler.pool.num_blocks
        assert scheduler.pinned_blocks == 0
        assert not scheduler.governor.programs
        assert not len(scheduler.contexts)
    counts = outcome.totals.counts
    assert counts.pins_hit + counts.pins_expired + counts.pins_broken + counts.pins_moved <= counts.pins_made


@settings(max_examples=8, deadline=None)
@given(case=clusters(), policy=policies)
def test_with_affine_steps(case: tuple[list[Program], list[EngineConfig], str], policy: str) -> None:
    check(case, policy, affine())


@settings(max_examples=8, deadline=None)
@given(case=clusters(eighths), policy=policies)
def test_when_everything_coincides(case: tuple[list[Program], list[EngineConfig], str], policy: str) -> None:
    """Steps on several engines are equal, so every boundary is shared and follow-up turns arrive at one."""
    check(case, policy, constant(0.125))


@settings(max_examples=4, deadline=None)
@given(case=clusters(), policy=policies)
def test_with_steps_that_have_no_closed_form(case: tuple[list[Program], list[EngineConfig], str], policy: str) -> None:
    check(case, policy, Bent())


@pytest.mark.slow
@pytest.mark.repeats(share=7)
@pytest.mark.parametrize("routing", ROUTERS)
@pytest.mark.parametrize("name", sorted(PRESETS))
def test_every_policy_with_every_router(name: str, routing: str) -> None:
    @settings(max_examples=25, deadline=None)
    @given(case=clusters(eighths))
    def same(case: tuple[list[Program], list[EngineConfig], str]) -> None:
        check((case[0], case[1], routing), name, constant(0.125))

    same()


@settings(max_examples=8, deadline=None)
@given(case=clusters(), policy=policies)
def test_every_replica_keeps_its_books(case: tuple[list[Program], list[EngineConfig], str], policy: str) -> None:
    programs, (first, *others), routing = case
    observers = [InvariantObserver(config) for config in (first, *others)]
    simulate(
        programs,
        policy,
        config=first,
        others=others,
        routing=routing,
        step_time=affine(),
        stepwise=False,
        observers=observers,
    )
