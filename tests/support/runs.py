"""One simulation, with all its reports kept in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.replica import StepObserver
from continuum_sim.engine.token_gaps import TokenGaps
from continuum_sim.policies import Policy, Routing
from continuum_sim.setup.notation import parse_policy, parse_routing
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.arrivals import Closed, FromTrace, OpenArrivals
from continuum_sim.traces.schema import Program
from continuum_sim.world.clients import PATIENT, ClientConfig, ClientDraws
from continuum_sim.world.cluster import ReplicaSetup
from continuum_sim.world.drafts import DraftDraws
from continuum_sim.world.records import ProgramRecord, TimelineRecord, TurnRecord
from continuum_sim.world.simulation import Simulation
from continuum_sim.world.tools import ToolConfig, ToolOutcomes
from continuum_sim.world.totals import EngineTotals
from support.steptimes import constant


class Event(NamedTuple):
    """One line of the decision log."""

    time_s: float
    step: int
    program: str
    turn: int
    name: str
    detail: dict[str, Any]
    replica: int | None = None


@dataclass
class Outcome:
    """Results of a run; serves as its `Recorder`."""

    turns: list[TurnRecord] = field(default_factory=list)
    programs: list[ProgramRecord] = field(default_factory=list)
    stretches: list[TimelineRecord] = field(default_factory=list)
    log: list[Event] = field(default_factory=list)
    gaps: TokenGaps = field(default_factory=TokenGaps)
    totals: EngineTotals = field(init=False)
    simulation: Simulation = field(init=False)

    def turn(self, record: TurnRecord) -> None:
        self.turns.append(record)

    def program(self, record: ProgramRecord) -> None:
        self.programs.append(record)

    def timeline(self, record: TimelineRecord) -> None:
        self.stretches.append(record)

    def of(self, program: str, turn: int = 0) -> TurnRecord:
        """Return the record of one turn."""
        return next(t for t in self.turns if (t.program, t.turn) == (program, turn))

    def events(self, *names: str) -> list[tuple[str, float, str, int]]:
        """Return (event, time, program, turn) of all decisions of these kinds, in order."""
        return [(e.name, e.time_s, e.program, e.turn) for e in self.log if e.name in names]


def simulate(
    programs: Iterable[Program],
    policy: str | Policy = "lru",
    *,
    config: EngineConfig,
    step_time: StepTime | None = None,
    arrivals: OpenArrivals | Closed | None = None,
    stepwise: bool = True,
    seed: int = 0,
    observer: StepObserver | None = None,
    others: Sequence[EngineConfig] = (),
    ranks: int = 1,
    lockstep: bool = False,
    routing: str | Routing | None = None,
    observers: Sequence[StepObserver] = (),
    tools: ToolConfig | None = None,
    clients: ClientConfig = PATIENT,
) -> Outcome:
    """Run programs to their end; by default with constant steps of 1 s and the programs' own arrivals.

    `others` are additional replicas with the same step times, and each has `ranks` data-parallel ranks; each of
    `observers` watches one engine.
    """
    outcome = Outcome()
    steps = constant() if step_time is None else step_time

    def log(*entry: Any) -> None:
        outcome.log.append(Event(*entry))

    outcome.simulation = Simulation(
        policy=parse_policy(policy) if isinstance(policy, str) else policy,
        config=config,
        step_time=steps,
        recorder=outcome,
        stepwise=stepwise,
        observer=observer,
        log=log,
        others=[ReplicaSetup(other, steps) for other in others],
        ranks=ranks,
        lockstep=lockstep,
        routing=parse_routing(routing) if isinstance(routing, str) else routing,
        tools=None if tools is None else ToolOutcomes(tools, seed),
        clients=ClientDraws(clients, seed),
        drafts=DraftDraws(seed),
        gaps=outcome.gaps,
    )
    for replica, watching in zip(outcome.simulation.cluster.replicas, observers, strict=False):
        replica.observer = watching
    process = FromTrace() if arrivals is None else arrivals
    outcome.totals = outcome.simulation.run(programs, process, np.random.default_rng(seed))
    return outcome
