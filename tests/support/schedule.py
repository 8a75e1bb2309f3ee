"""A run's schedule, step by step, in a form that can be written by hand."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.policies import Policy
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import Program
from support.runs import Outcome, simulate


class Step(NamedTuple):
    """One step: its start, tokens by program, cached tokens of admitted turns, and free blocks."""

    start_s: float
    batch: dict[str, int]
    free: int
    admitted: dict[str, int] = {}  # noqa: RUF012  (never changed)
    preempted: list[str] = []  # noqa: RUF012


class ScheduleObserver:
    """Records every step of a stepwise run."""

    def __init__(self) -> None:
        self.steps: list[Step] = []

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        """Ignore arrivals, which show in later steps."""

    def on_abort(self, scheduler: Scheduler, request: Request, now_s: float) -> None:
        """Ignore turns whose clients left."""

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        tokens = {_name(request): plan.tokens_for(request) for request in scheduler.running.values()}
        batch = {name: count for name, count in tokens.items() if count}
        admitted = {_name(request): request.num_computed_tokens for request in plan.admitted}
        preempted = [_name(request) for request in plan.preempted]
        self.steps.append(Step(now_s, batch, scheduler.pool.free, admitted, preempted))

    def on_advance(
        self, scheduler: Scheduler, plan: Plan, steps: int, start_s: float, end_s: float, finished: list[Request]
    ) -> None:
        assert steps == 1


def schedule_of(
    programs: Iterable[Program],
    policy: str | Policy = "lru",
    *,
    config: EngineConfig,
    step_time: StepTime | None = None,
) -> tuple[list[Step], Outcome]:
    """Run stepwise (1 s per step by default) and return every planned step with the outcome."""
    observer = ScheduleObserver()
    outcome = simulate(programs, policy, config=config, step_time=step_time, observer=observer)
    return observer.steps, outcome


def _name(request: Request) -> str:
    return request.turn.program.program_id
