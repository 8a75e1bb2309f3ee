"""Jumping over steps changes no result, whatever a policy does between them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.policies import PRESETS
from continuum_sim.traces.schema import Program
from support.invariants import InvariantObserver
from support.runs import Outcome, simulate
from support.steptimes import affine, constant
from support.strategies import cases

VARIANTS = {
    "autellix": ("", "beta=0.1"),
    "concur": ("window=2,period=1,low=0.6,high=0.6,hit_rate=0.9",),
    "continuum-code": ("", "ttl=0.4"),
    "infercept": ("saturation=8", "saturation=8,pressure=head"),
    "infercept-oracle": ("saturation=8",),
    "mars": ("window=3,period=1,overload=0.6,clear=0.4",),
    "mori": ("period=1,buffer_tokens=2",),
    "session-gate": ("limit=2",),
    "soft-ttl": ("ttl=1.5",),
    "thunderagent": ("period=1,buffer_tokens=2", "period=0.7,half_life=0.5,buffer_tokens=0"),
    "ttl": ("cold_start=2",),
    "ttl-expected": ("cold_start=2",),
    "ttl-static": ("ttl=0.5", "ttl=0.5,pressure=head"),
}
"""Parameters with which a preset does what it is named for in cases this small; the others keep their defaults."""
COMPOSED = (
    "order=arrival,retention=soft-ttl:ttl=none",
    "order=pinned-first,retention=saga:cap=2",
    "order=autellix,retention=infercept:saturation=4,admission=thunderagent:period=1",
)
POLICIES = [
    *(f"{name}:{given}".rstrip(":") for name in sorted(PRESETS) for given in VARIANTS.get(name, ("",))),
    *COMPOSED,
]


def test_variants_are_of_presets() -> None:
    assert VARIANTS.keys() <= PRESETS.keys()
    for name in PRESETS:
        assert any(policy.partition(":")[0] == name for policy in POLICIES)


def told(outcome: Outcome) -> list[object]:
    """Return everything a run reports except times, which the two modes round differently, and steps of arrivals."""
    return [
        [(e.name, e.name == "arrive" or e.step, e.program, e.turn, e.detail.get("for")) for e in outcome.log],
        [(t.program, t.turn, t.cached_tokens, t.computed_tokens, t.preemptions) for t in outcome.turns],
        outcome.totals.steps,
        outcome.totals.counts.holds,
        outcome.totals.counts.reorders,
        outcome.totals.counts.pins_hit,
        outcome.totals.counts.pins_expired,
        outcome.totals.counts.pins_broken,
    ]


@pytest.mark.parametrize("policy", POLICIES)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(case=cases(), seconds=st.sampled_from([None, 0.125, 0.25]))
def test_jumps_decide_what_single_steps_decide(
    policy: str, case: tuple[list[Program], EngineConfig], seconds: float | None
) -> None:
    programs, config = case
    step_time = affine() if seconds is None else constant(seconds)
    single = simulate(programs, policy, config=config, step_time=step_time, observer=InvariantObserver(config))
    jumped = simulate(
        programs, policy, config=config, step_time=step_time, stepwise=False, observer=InvariantObserver(config)
    )
    assert told(jumped) == told(single)
    times = [(t.arrival_s, t.scheduled_s, t.first_token_s, t.finish_s) for t in jumped.turns]
    assert times == [pytest.approx((t.arrival_s, t.scheduled_s, t.first_token_s, t.finish_s)) for t in single.turns]
