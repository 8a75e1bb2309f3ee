"""Data-parallel ranks: jumping tells the coordinator the same as stepping, and vLLM's balancer chooses alike."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.policies import EngineCounts, ReplicaView, RoutedTurn, Router, Routing
from continuum_sim.policies.rules.vllm_balancer import VllmBalancer
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import Program
from support.compare import assert_same_runs
from support.runs import Outcome, simulate
from support.steptimes import Bent, affine, constant
from support.strategies import engines, policies, tiered, traces

eighths = st.integers(0, 24).map(lambda k: k / 8)
Case = tuple[list[Program], EngineConfig, int, int, int | None, bool]


@dataclass(frozen=True)
class Watched(Routing):
    """vLLM's balancer, and what it was told."""

    servers: int | None
    told: list[tuple[str, int, list[tuple[int, EngineCounts]]]] = field(default_factory=list)

    def start(self) -> Router:
        return _Watched(self)


class _Watched(Router):
    def __init__(self, rule: Watched) -> None:
        self._balancer = VllmBalancer(rule.servers).start()
        self._told = rule.told
        self._counts: dict[int, EngineCounts] = {}

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        self._told.append((turn.program_id, turn.index, sorted(self._counts.items())))
        return self._balancer.route(turn, replicas, now_s)

    def counts_published(self, counts: Mapping[int, EngineCounts]) -> None:
        self._counts.update(counts)
        self._balancer.counts_published(counts)

    def turn_ended(self, program_id: str) -> None:
        self._balancer.turn_ended(program_id)


@st.composite
def ranked(draw: st.DrawFn, times: st.SearchStrategy[float] | None = None) -> Case:
    """Draw a trace, the engine of every rank, ranks, deployments, API servers, and whether ranks step together."""
    programs = draw(traces(times, times))
    config = draw(engines(programs))
    if draw(st.booleans()):
        config = draw(tiered(config))
    lockstep = draw(st.booleans())
    if lockstep:
        config = replace(config, prefill_schedule_interval=1)
    servers = draw(st.sampled_from([None, 1, 2]))
    return programs, config, draw(st.integers(2, 3)), draw(st.integers(1, 2)), servers, lockstep


def check(case: Case, policy: str, step_time: StepTime) -> tuple[Outcome, Outcome]:
    programs, config, ranks, deployments, servers, lockstep = case
    others = [config] * (deployments - 1)
    rules = [Watched(servers) if deployments == 1 else None for _ in range(2)]
    stepwise, fast = (
        simulate(
            programs,
            policy,
            config=config,
            others=others,
            ranks=ranks,
            lockstep=lockstep,
            routing=rule,
            step_time=step_time,
            stepwise=stepwise,
        )
        for stepwise, rule in zip((True, False), rules, strict=True)
    )
    assert_same_runs(stepwise, fast)
    told = [[] if rule is None else rule.told for rule in rules]
    assert told[0] == told[1]
    assert len(fast.simulation.cluster.replicas) == ranks * deployments
    return stepwise, fast


@settings(max_examples=12, deadline=None)
@given(case=ranked(), policy=policies)
def test_with_affine_steps(case: Case, policy: str) -> None:
    check(case, policy, affine())


@settings(max_examples=8, deadline=None)
@given(case=ranked(eighths), policy=policies)
def test_when_everything_coincides(case: Case, policy: str) -> None:
    check(case, policy, constant(0.125))


@pytest.mark.repeats
@settings(max_examples=6, deadline=None)
@given(case=ranked(), policy=policies)
def test_with_steps_that_have_no_closed_form(case: Case, policy: str) -> None:
    check(case, policy, Bent())
