"""Ranks of a mixture of experts step together: what waiting for the slowest costs, and what those without work do."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from continuum_sim.policies import ReplicaView, RoutedTurn, Router, Routing
from continuum_sim.steptime.bases import SingleStepTime
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.traces.schema import Program
from support.programs import engine, program, turn
from support.runs import Outcome, simulate
from support.steptimes import affine, constant


@dataclass(frozen=True)
class ByName(Routing, Router):
    """Sends a program to the rank that its name begins with."""

    def start(self) -> Router:
        return self

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        return int(turn.program_id[0])


def lockstep(programs: list[Program], ranks: int, *, ahead: bool = False, stepwise: bool = False) -> Outcome:
    config = replace(engine(400, budget=64), async_scheduling=ahead)
    return simulate(
        programs, config=config, ranks=ranks, lockstep=True, routing=ByName(), stepwise=stepwise, step_time=constant()
    )


class Exponential(SingleStepTime):
    """Steps that take 1 s on average, exponentially distributed: a draw for each length of the context."""

    def step_s(self, batch: StepBatch) -> float:
        return float(np.random.default_rng(batch.decode_context_tokens).exponential())

    def describe(self) -> dict[str, str]:
        return {"kind": "exponential"}


@pytest.mark.parametrize("ranks", [2, 4, 8])
def test_a_barrier_costs_the_mean_of_a_maximum(ranks: int) -> None:
    """Closed form: of R exponential times with mean 1 the largest has mean 1 + 1/2 + … + 1/R."""
    steps = 1500
    programs = [program(f"{rank}", turn(8 + 5000 * rank, steps)) for rank in range(ranks)]
    config = engine(20_000, budget=50_000, max_model_len=60_000)
    outcome = simulate(
        programs,
        config=config,
        ranks=ranks,
        lockstep=True,
        routing=ByName(),
        step_time=Exponential(),
        stepwise=False,
    )
    decode_s = np.mean([t.finish_s - t.first_token_s for t in outcome.turns]) / (steps - 1)
    expected_s = sum(1 / k for k in range(1, ranks + 1))
    deviation_s = math.sqrt(sum(1 / k**2 for k in range(1, ranks + 1)) / steps)
    assert abs(decode_s - expected_s) < 3 * deviation_s
    assert len({t.finish_s for t in outcome.turns}) == 1


def test_the_slowest_rank_sets_the_pace_of_all() -> None:
    """Closed form: rank 1 alone would take less, but each of its steps lasts as long as the step of rank 0."""
    programs = [program("0", turn(300, 20)), program("1", turn(8, 20))]
    config = engine(400, budget=512, max_model_len=512)
    together = simulate(
        programs, config=config, ranks=2, lockstep=True, routing=ByName(), step_time=affine(), stepwise=False
    )
    alone = simulate(programs[:1], config=config, step_time=affine(), stepwise=False)
    assert together.of("1").finish_s == pytest.approx(alone.of("0").finish_s, rel=1e-12)
    assert together.of("0") == alone.of("0")._replace(finish_s=pytest.approx(alone.of("0").finish_s))


def test_a_turn_that_ends_the_pause_starts_at_once_and_one_that_comes_while_dummy_steps_run_after_those() -> None:
    """Steps of 1 s. The first turn takes steps 1 to 3, and all run dummy steps up to step 16, when they pause."""
    first = program("0", turn(8, 3))
    for stepwise in (True, False):
        late = lockstep([first, program("1 late", turn(8, 1), at=20.5)], 2, stepwise=stepwise).of("1 late")
        assert (late.scheduled_s, late.finish_s) == (20.5, 21.5)
        # Rank 1 has run dummy steps from the beginning, one ahead: at 7 s it is about to take step 8.
        there = lockstep([first, program("1 there", turn(8, 1), at=6.5)], 2, stepwise=stepwise).of("1 there")
        assert (there.scheduled_s, there.finish_s) == (7.0, 9.0)
        # After step 16 all ranks have found out that none has work, and so are at the same step.
        other = [first, program("0 long", turn(8, 30), at=2.0), program("1 there", turn(8, 1), at=15.5)]
        there = lockstep(other, 2, stepwise=stepwise).of("1 there")
        assert (there.scheduled_s, there.finish_s) == (16.0, 17.0)


def test_with_planning_ahead_a_step_is_under_way_before_a_turn_begins() -> None:
    """As on one engine, where a turn that is planned at a step's end begins after the step that then starts."""
    long = program("0", turn(8, 30))
    here = lockstep([long, program("0 here", turn(8, 1), at=6.5)], 2, ahead=True).of("0 here")
    assert (here.scheduled_s, here.finish_s) == (7.0, 9.0)
    there = lockstep([long, program("1 there", turn(8, 1), at=6.5)], 2, ahead=True).of("1 there")
    assert (there.scheduled_s, there.finish_s) == (7.0, 10.0)


def test_a_rank_without_work_counts_no_steps_of_its_own() -> None:
    outcome = lockstep([program("0", turn(8, 5))], 3)
    assert [replica.scheduler.step for replica in outcome.simulation.cluster.replicas] == [5, 0, 0]
    assert outcome.totals.busy_s == 5.0
