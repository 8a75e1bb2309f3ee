"""Policies under which turns preempt one another for ever."""

from __future__ import annotations

from dataclasses import replace

import pytest

from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.progress import PREEMPTIONS_BETWEEN_CHECKS
from continuum_sim.policies import Policy, PolicyError
from support.programs import engine, program, turn
from support.rules import OldestYields
from support.runs import simulate

STATES = replace(
    engine(3, block_size=7, budget=13, max_model_len=165),
    long_prefill_token_threshold=5,
    kv_cache_groups=(GroupSpec("recurrent", 7, checkpoints=True),),
)
"""Room for one turn's states, and for the first state of another."""


def test_turns_that_preempt_one_another_for_ever_are_refused() -> None:
    # Each newcomer takes the room of the one before it, which is then first in the queue.
    programs = [program("a", turn(69, 50)), program("b", turn(71, 4), at=2.0)]
    with pytest.raises(
        PolicyError, match=r"'oldest yields' lets turns preempt one another for ever: .*turn 0 of '[ab]'"
    ):
        simulate(programs, Policy("oldest yields", order=OldestYields()), config=STATES)
    assert simulate(programs, "lru", config=STATES).turns


def test_turns_that_decode_are_not() -> None:
    order, config = Policy("oldest yields", order=OldestYields()), engine(6, max_model_len=24)
    programs = [program(f"{name}{n}", turn(3, 20)) for n in range(2_000) for name in "ab"]
    outcome = simulate(programs, order, config=config, stepwise=False)
    assert len(outcome.turns) == len(programs)
    assert outcome.simulation.cluster.replicas[0].scheduler.preemptions > 2 * PREEMPTIONS_BETWEEN_CHECKS
