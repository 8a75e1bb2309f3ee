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
from continuum_sim.engine.request import Request
from continuum_sim.engine.token_gaps import EngineGaps, TokenGaps
from continuum_sim.errors import SimulationError
from continuum_sim.policies import Policy, Routing
from continuum_sim.policies.instants import SAME_INSTANT_S
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.arrivals import Closed, OpenArrivals
from continuum_sim.traces.schema import STOP, Program
from continuum_sim.world.cluster import Cluster, LogLine, ReplicaSetup
from continuum_sim.world.families import SubAgents
from continuum_sim.world.fits import check_fits
from continuum_sim.world.foresight import foresee
from continuum_sim.world.records import ProgramRecord, Recorder, TurnRecord
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
        routing: Routing | None = None,
        tools: ToolOutcomes | None = None,
        gaps: TokenGaps | None = None,
        alone_s: Callable[[Program], float | None] | None = None,
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
        routing
            Routing rule that replaces the policy's own or the default.
        tools
            Outcomes of tool calls and how many run at once; None lets each call take the time in the trace.
        gaps
            Collects the gaps between output tokens.
        alone_s
            Returns the JCT of a program that has the engine to itself, for its record.
        """
        self.env = Clock()
        self.policy = policy
        self.config = config
        self.recorder = recorder
        setups = [ReplicaSetup(config, step_time), *others]
        self.cluster = Cluster(self.env, policy, setups, routing=routing, stepwise=stepwise, log=log)
        for replica in self.cluster.replicas:
            replica.observer = Timeline(recorder, replica.number) if observer is None and timeline else observer
            replica.gaps = None if gaps is None else EngineGaps(gaps)
        self.replica = self.cluster.replicas[0]
        """The engine, or the first of several."""
        self.scheduler = self.replica.scheduler
        self._outcomes = None if tools is None or tools.config.plain else tools
        self.tools = None if self._outcomes is None else ToolRunner(self.env, self._outcomes.config)
        """Runs tool calls, if these are more than gaps as long as in the trace."""
        self._alone_s = alone_s
        self._closed = False
        """Whether a program starts when another ends."""
        self._open = 0
        """Number of programs that have arrived but not finished."""

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
        self._closed = isinstance(arrivals, Closed)
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
        if self._open:
            replicas = self.cluster.replicas
            raise SimulationError(
                f"policy {self.policy.name!r} is stuck with {self._open} unfinished programs at "
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
            self.env.process(self._serve(program, arrival_s))

    def _worker(self, programs: Iterator[Program], until_s: float) -> Generator[simpy.Event, Any, None]:
        now_s = 0.0
        for program in programs:
            now_s = yield self.env.process(self._serve(program, now_s))
            if now_s > until_s:
                return

    def _serve(self, program: Program, now_s: float, parent: str | None = None) -> Generator[simpy.Event, Any, float]:
        """Serve one program: turn, tool, turn, … until its last token and those of its sub-agents."""
        check_fits(program, *self.cluster.configs)
        env, name = self.env, program.program_id
        stay = self.cluster.open(program)
        arrival_s = now_s
        queue_s = reload_s = prefill_s = decode_s = preempted_s = tool_s = tool_wait_s = join_s = 0.0
        known_tokens = 0
        gaps_s = [turn.tool_s for turn in program.turns]
        if self._outcomes is not None:
            gaps_s = [self._outcomes.gap_s(name, index, turn) for index, turn in enumerate(program.turns)]
        known = foresee(program, gaps_s) if self.policy.oracle else None
        children = None
        if program.children:
            children = SubAgents(env, program.children, lambda child, start_s: self._serve(child, start_s, name))
        last = len(program.turns) - 1
        # Sub-agents and tool workers may act at the instant a turn ends; whatever awaits the program, when it ends.
        watched = children is not None or self.tools is not None
        awaited = self._closed or parent is not None
        self._open += 1
        for index, turn in enumerate(program.turns):
            done = env.event()
            replica, context, kept_tokens = stay.place(index, turn, now_s)
            request = Request(
                context,
                prompt_tokens=turn.input_tokens,
                kept_tokens=kept_tokens,
                max_tokens=turn.output_tokens,
                known_tokens=min(turn.kept_tokens, known_tokens),
                arrival_s=now_s,
                tool=turn.tool,
                last=index == last,
                foresight=known[index] if known else None,
                ended=done,
                followed_at_once=watched or (awaited if index == last else turn.tool_s < SAME_INSTANT_S),
                parent=parent,
                priority=program.priority,
                # One that reaches the longest context ends there, as the engine knows beforehand.
                stops=turn.finish == STOP
                and turn.input_tokens + turn.output_tokens < replica.scheduler.config.max_model_len,
            )
            replica.submit(name, request, now_s)
            finish_s: float = yield done
            queue_s += request.scheduled_s - now_s - request.reload_s
            reload_s += request.reload_s
            to_first_s = request.first_token_s - request.scheduled_s
            to_last_s = finish_s - request.first_token_s
            if request.num_preemptions:
                lost_s, lost_first_s = request.preempted_s, request.preempted_first_s
                preempted_s += lost_s
                # Rounding of sums must not take these below 0.
                to_first_s = max(0.0, to_first_s - lost_first_s)
                to_last_s = max(0.0, to_last_s - (lost_s - lost_first_s))
            prefill_s += to_first_s
            decode_s += to_last_s
            self.recorder.turn(_turn_record(name, index, request, gaps_s[index], replica.number))
            now_s = finish_s
            known_tokens = turn.input_tokens + turn.output_tokens - 1
            if children is not None:
                children.start(index, finish_s)
            if index < last:
                if self.tools is None:
                    tool_s += turn.tool_s
                    now_s = finish_s + turn.tool_s
                    yield env.after(finish_s, turn.tool_s)
                else:
                    assert self._outcomes is not None
                    gap = yield from self.tools.run(self._outcomes.of_turn(name, index, turn), finish_s)
                    now_s = gap.end_s
                    tool_s += gap.tool_s
                    tool_wait_s += gap.wait_s
                if children is not None:
                    returned_s = now_s
                    now_s = yield from children.join(index + 1, returned_s)
                    join_s += now_s - returned_s
        stay.close()
        if children is not None:
            ended_s = now_s
            now_s = yield from children.join(None, ended_s)
            join_s += now_s - ended_s
        self._open -= 1
        self.recorder.program(
            ProgramRecord(
                name,
                len(program.turns),
                arrival_s,
                now_s,
                now_s - arrival_s,
                queue_s,
                prefill_s,
                decode_s,
                tool_s,
                tool_wait_s,
                join_s,
                parent,
                reload_s,
                preempted_s,
                None if parent is not None or self._alone_s is None else self._alone_s(program),
            )
        )
        return now_s


def _turn_record(program: str, index: int, request: Request, tool_s: float, replica: int) -> TurnRecord:
    # A step planned in vain computes the KV of the last token, which is no part of the turn's work.
    wasted = max(0, request.num_computed_tokens - (request.num_tokens - 1))
    return TurnRecord(
        program,
        index,
        request.arrival_s,
        request.scheduled_s,
        request.first_token_s,
        request.finish_s,
        request.prompt_tokens,
        request.max_tokens,
        request.cached_tokens,
        request.work_tokens - wasted,
        request.recomputed_tokens,
        request.num_preemptions,
        request.tool,
        tool_s,
        replica,
        request.reloaded_tokens,
        request.reload_s,
        request.preempted_s,
    )
