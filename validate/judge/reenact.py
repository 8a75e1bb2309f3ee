"""Simulate a measured run once more, with the engine's own step times and the gaps that the engine saw.

Any remaining difference from the measurement is due neither to step times nor to client or machine, but to the
scheduler and the cache, decision by decision.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from continuum_sim.engine.clock import Clock
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.policies.instants import SAME_INSTANT_S
from continuum_sim.results.decisions import DecisionRecord, keep_decisions
from continuum_sim.setup.notation import parse_policy
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.arrivals import FromTrace
from continuum_sim.traces.schema import Program
from continuum_sim.validate.judge.engine_clock import EngineClock, EngineLog
from continuum_sim.validate.judge.logged_drafts import LoggedDraws
from continuum_sim.validate.judge.observed import KeptRecords
from continuum_sim.validate.judge.predict import Forecast
from continuum_sim.validate.session.workload import Workload
from continuum_sim.validate.steplog import TimedStep
from continuum_sim.world.simulation import Simulation

_LOOK_AHEAD: Final = 50
"""Logged steps among which a batch is searched for after the two diverged."""
_PACE_STEPS: Final = 40
"""Steps around a moment that show how fast the engine was then."""
_AT_ONCE_S: Final = 1e-6
"""Arrivals less than this after a planning are placed there for the one that follows at once; steps take longer."""


@dataclass(frozen=True)
class Reenactment:
    """A measured run, simulated again."""

    forecast: Forecast
    same_steps: float
    """Share of the engine's steps that the simulator took too: the same batch, in the same order."""
    measured_jct_s: dict[str, float]
    """Job completion times on the engine's own clock, for comparison with the simulated ones."""


class LoggedStepTime:
    """Step times read from a log, one after the other; if the simulated batch differs from the logged one, the
    model's, scaled to the engine's speed at that moment.
    """

    def __init__(self, timed: Sequence[TimedStep], model: StepTime) -> None:
        self._batches = [step.batch for step in timed]
        self._seconds = [step.seconds for step in timed]
        modelled = np.array([model.step_s(batch) for batch in self._batches])
        kernel = np.ones(max(1, min(_PACE_STEPS, len(timed))))
        measured, expected = (np.convolve(values, kernel, "same") for values in (self._seconds, modelled))
        self._pace = measured / expected
        self._model = model
        self._at = 0
        self.running = False
        """True while steps are being taken; before, questions are answered by the model."""
        self.same = 0
        """Number of steps that matched the log."""

    @property
    def logged(self) -> int:
        """Number of logged steps that computed something."""
        return len(self._seconds)

    def step_s(self, batch: StepBatch) -> float:
        """Seconds of the next step."""
        return self.run_s(batch, 1)

    def run_s(self, batch: StepBatch, n_steps: int) -> float:
        """Seconds of the next step; longer runs are asked for only before the first step, and are the model's."""
        if not self.running:
            return self._model.run_s(batch, n_steps)
        assert n_steps == 1, "logged steps are taken one at a time"
        for ahead in range(self._at, min(self._at + _LOOK_AHEAD, self.logged)):
            if self._batches[ahead] == batch:
                self._at = ahead + 1
                self.same += 1
                return self._seconds[ahead]
        self._at = min(self._at + 1, self.logged)
        return self._model.step_s(batch) * float(self._pace[min(self._at, self.logged) - 1])

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Return the least number of steps that take `elapsed_s`, according to the model."""
        return self._model.steps_to_reach(batch, n_steps, elapsed_s)

    def describe(self) -> dict[str, Any]:
        """Return the kind of this model."""
        return {"kind": "logged", "steps": self.logged, "otherwise": self._model.describe()}


class _Between:
    """Lets turns in between the first two plannings of an idle engine, as vLLM does with asynchronous scheduling.

    The simulator makes both at one moment, so the events that let these turns in are processed early.
    """

    def __init__(self, between_s: Sequence[float]) -> None:
        self._between_s = between_s
        self.env: Clock

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        """Ignore arrivals."""

    def on_abort(self, scheduler: Scheduler, request: Request, now_s: float) -> None:
        """Ignore the end of a turn: clients of a validation wait for every token."""

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        """Let in what vLLM received before the next planning."""
        last = bisect_left(self._between_s, now_s + _AT_ONCE_S) - 1
        if last >= 0 and self._between_s[last] > now_s and not plan.empty and not scheduler.plans:
            until_s = self._between_s[last] + SAME_INSTANT_S
            while self.env.peek() <= until_s:
                self.env.step()

    def on_advance(
        self, scheduler: Scheduler, plan: Plan, steps: int, start_s: float, end_s: float, finished: list[Request]
    ) -> None:
        """Ignore steps."""


def reenact(
    workload: Workload,
    policy: str,
    config: EngineConfig,
    model: StepTime,
    log: EngineLog,
) -> Reenactment:
    """Simulate a run from its engine's log; times count from `log.start_s`, as in the run's records."""
    clock = EngineClock(log)
    logged = LoggedStepTime(clock.steps, model)
    kept = KeptRecords()
    decisions: list[DecisionRecord] = []
    between = _Between(clock.between_s)
    simulation = Simulation(
        policy=parse_policy(policy),
        config=config,
        step_time=logged,
        recorder=kept,
        stepwise=True,
        observer=between,
        log=keep_decisions(decisions),
        drafts=LoggedDraws([step for step in log.steps if step.end_s > log.start_s]),
    )
    between.env = simulation.env
    logged.running = True
    programs = [_as_the_engine_saw(program, clock) for program in workload.programs]
    programs.sort(key=lambda program: program.arrival_s or 0.0)
    totals = simulation.run(programs, FromTrace(), np.random.default_rng(0))
    forecast = Forecast(tuple(kept.programs), tuple(kept.turns), totals, tuple(decisions))
    jct_s = {p.program_id: clock.jct_s(p) for p in workload.programs}
    return Reenactment(forecast, logged.same / max(1, logged.logged), jct_s)


def _as_the_engine_saw(program: Program, clock: EngineClock) -> Program:
    """Give a program the arrival and the gaps that the engine's clock showed."""
    name = program.program_id
    turns = [
        replace(turn, tool_s=max(0.0, clock.arrival_s[name, index + 1] - clock.end_s[name, index]))
        for index, turn in enumerate(program.turns[:-1])
    ]
    return replace(program, turns=(*turns, program.turns[-1]), arrival_s=max(0.0, clock.arrival_s[name, 0]))
