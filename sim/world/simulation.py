"""A whole run: programs arrive, alternate turns on the engine with tool calls, and leave records behind."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import simpy

from continuum_sim.engine.clock import Clock
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.replica import StepObserver
from continuum_sim.engine.token_gaps import TokenGaps, make_gaps
from continuum_sim.errors import SimulationError
from continuum_sim.policies import Policy, Routing
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.arrivals import Closed, OpenArrivals
from continuum_sim.traces.schema import Program
from continuum_sim.world.clients import ClientConfig, ClientDraws, Sender
from continuum_sim.world.cluster import Cluster, LogLine, ReplicaSetup
from continuum_sim.world.course import Course, World
from continuum_sim.world.drafts import DraftDraws
from continuum_sim.world.records import Recorder
from continuum_sim.world.timeline import Timeline
from continuum_sim.world.tools import ToolOutcomes, ToolRunner
from continuum_sim.world.totals import EngineTotals, sum_totals, totals_of


class Simulation:
    """One engine, or a cluster of them, serving one stream of programs under one policy.

    Examples
    --------
    Two programs on an engine whose steps take 1 s each; the first calls a tool for 5 s between its turns.

    >>> import numpy as np
    >>> from continuum_sim.engine.config import EngineConfig
    >>> from continuum_sim.policies import Policy
    >>> from continuum_sim.steptime import Fitted
    >>> from continuum_sim.traces import Burst, Program, Turn
    >>> from continuum_sim.world.simulation import Simulation
    >>> class Printer:
    ...     def turn(self, record): pass
    ...     def program(self, record): print(record.program, "JCT", record.jct_s)
    ...     def timeline(self, record): pass
    >>> simulation = Simulation(
    ...     policy=Policy("lru"),
    ...     config=EngineConfig(num_gpu_blocks=100),
    ...     step_time=Fitted(1.0, 0.0, 0.0, 0.0),
    ...     recorder=Printer(),
    ... )
    >>> programs = [
    ...     Program("two turns", (Turn(40, 0, 3, "ls", 5.0), Turn(60, 43, 2))),
    ...     Program("one turn", (Turn(30, 0, 4),)),
    ... ]
    >>> totals = simulation.run(programs, Burst(), np.random.default_rng(0))
    one turn JCT 4.0
    two turns JCT 10.0
    >>> totals.steps
    6
    """

    def __init__(
        self,
        *,
        policy: Policy,
        config: EngineConfig,
        step_time: StepTime,
        recorder: Recorder,
        stepwise: bool = False,
        timeline: bool = True,
        observer: StepObserver | None = None,
        log: LogLine | None = None,
        others: Sequence[ReplicaSetup] = (),
        ranks: int = 1,
        lockstep: bool = False,
        routing: Routing | None = None,
        tools: ToolOutcomes | None = None,
        clients: ClientDraws | None = None,
        gaps: TokenGaps | None = None,
        alone_s: Callable[[Program], float | None] | None = None,
        drafts: DraftDraws | None = None,
    ) -> None:
        """Set up idle engines.

        Parameters
        ----------
        config, step_time
            Settings and step times of the engine, or of the first replica of a cluster.
        stepwise
            Whether to take one event per step instead of jumping over equal steps; the same results, slowly.
        timeline
            Whether to report `TimelineRecord`s.
        observer
            Observes every step in place of the timeline (for parity checks).
        log
            Receives every decision of the policy.
        others
            The other replicas of a cluster.
        ranks
            Data-parallel ranks of each of them: engines with these settings each.
        lockstep
            Whether the ranks step together, as those of a mixture of experts do.
        routing
            Routing rule that replaces the policy's own or the default.
        tools
            Outcomes of tool calls and how many run at once; None lets each call take the time in the trace.
        clients
            How patient clients are, and how far; None lets them wait for every token, at the engine itself.
        gaps
            Collects the gaps between output tokens.
        alone_s
            Returns the JCT of a program that has the engine to itself, for its record.
        drafts
            Draws how many drafts are accepted on engines with speculative decoding.
        """
        self.env = Clock()
        self.policy = policy
        self.config = config
        self.recorder = recorder
        setups = [ReplicaSetup(config, step_time), *others]
        self.cluster = Cluster(
            self.env, policy, setups, ranks=ranks, lockstep=lockstep, routing=routing, stepwise=stepwise, log=log
        )
        for replica in self.cluster.replicas:
            replica.observer = Timeline(recorder, replica.number) if observer is None and timeline else observer
            replica.gaps = None if gaps is None else make_gaps(gaps, pipelined=replica.pipeline is not None)
        self.replica = self.cluster.replicas[0]
        """The engine, or the first of several."""
        self.scheduler = self.replica.scheduler
        outcomes = None if tools is None or tools.config.plain else tools
        self.tools = None if outcomes is None else ToolRunner(self.env, outcomes.config)
        """Runs tool calls, if these are more than gaps as long as in the trace."""
        self.clients = None
        """The clients, if they may leave or be refused."""
        if any(config.may_refuse for config in self.cluster.configs) or (clients and not clients.config.patient):
            self.clients = Sender(self.env, clients or ClientDraws(ClientConfig()))
        self._world = World(
            self.env,
            self.cluster,
            recorder,
            policy.oracle,
            outcomes,
            self.tools,
            self.clients,
            alone_s,
            drafts or DraftDraws(),
            0.0 if clients is None else clients.config.way_s,
        )

    def run(
        self,
        programs: Iterable[Program],
        arrivals: OpenArrivals | Closed,
        rng: np.random.Generator,
        *,
        until_s: float = math.inf,
    ) -> EngineTotals:
        """Serve all programs that arrive, or start, by `until_s` to their end.

        Raises
        ------
        ConfigError
            For a program that can never fit; checked as programs are read.
        SimulationError
            If the policy never admits some program.
        """
        self._world.closed = isinstance(arrivals, Closed)
        if isinstance(arrivals, Closed):
            source = iter(programs)
            for _ in range(arrivals.workers):
                self.env.process(self._worker(source, until_s))
        else:
            self.env.process(self._arrive(arrivals.times(programs, rng), until_s))
        self.env.run()
        for replica in self.cluster.replicas:
            if replica.gaps is not None:
                replica.gaps.close()
        if self._world.open:
            replicas = self.cluster.replicas
            raise SimulationError(
                f"policy {self.policy.name!r} is stuck with {self._world.open} unfinished programs at "
                f"{max(replica.now_s for replica in replicas):.3f} s with "
                f"{sum(replica.scheduler.pool.free for replica in replicas)} of "
                f"{sum(replica.scheduler.pool.num_blocks for replica in replicas)} blocks free"
            )
        return sum_totals([totals_of(replica) for replica in self.cluster.replicas])

    def _arrive(self, times: Iterator[tuple[float, Program]], until_s: float) -> Generator[simpy.Event, Any, None]:
        for arrival_s, program in times:
            if arrival_s > until_s:
                return
            if arrival_s > self.env.now:
                yield self.env.instant(arrival_s)
            self.env.process(Course(self._world, program).run(arrival_s))

    def _worker(self, programs: Iterator[Program], until_s: float) -> Generator[simpy.Event, Any, None]:
        now_s = 0.0
        for program in programs:
            now_s = yield self.env.process(Course(self._world, program).run(now_s))
            if now_s > until_s:
                return
