"""A whole run: programs arrive, alternate turns on the engine with tool calls, and leave records behind."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from typing import Any

import numpy as np
import simpy

from continuum_sim.engine.clock import Clock
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.rebuild import fit_rebuild_time
from continuum_sim.engine.replica import Replica, StepObserver
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import LogStep, Scheduler
from continuum_sim.fits import check_fits
from continuum_sim.foresight import foresee
from continuum_sim.policies import Policy
from continuum_sim.records import ProgramRecord, Recorder, TurnRecord
from continuum_sim.steptime.model import StepTime
from continuum_sim.timeline import Timeline
from continuum_sim.totals import EngineTotals, totals_of
from continuum_sim.traces.arrivals import Closed, OpenArrivals
from continuum_sim.traces.schema import Program


class SimulationError(RuntimeError):
    """The simulated engine stands still with work left; says which policy holds it back."""


class Simulation:
    """One engine serving one stream of programs under one policy."""

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
        log: LogStep | None = None,
    ) -> None:
        """Set up an idle engine.

        Parameters
        ----------
        stepwise
            One event a step instead of jumps over runs of equal steps; the same results, slowly.
        timeline
            Whether to report `TimelineRecord`s.
        observer
            Watches every step instead of the timeline (parity checks).
        log
            Receives every decision of the policy.
        """
        self.env = Clock()
        self.policy = policy
        self.config = config
        self.recorder = recorder
        rebuild_s = fit_rebuild_time(step_time, config.max_num_batched_tokens, config.max_model_len)
        self.scheduler = Scheduler(config, policy, rebuild_s, log)
        if observer is None and timeline:
            observer = Timeline(recorder)
        self.replica = Replica(self.env, self.scheduler, step_time, stepwise=stepwise, observer=observer)
        self._open = 0
        """Programs that have arrived and not finished."""

    def run(
        self, programs: Iterable[Program], arrivals: OpenArrivals | Closed, rng: np.random.Generator
    ) -> EngineTotals:
        """Serve all programs to their end.

        Raises
        ------
        ConfigError
            For a program that can never fit; checked as programs are read.
        SimulationError
            When the policy holds work back forever.
        """
        if isinstance(arrivals, Closed):
            source = iter(programs)
            for _ in range(arrivals.workers):
                self.env.process(self._worker(source))
        else:
            self.env.process(self._arrive(arrivals.times(programs, rng)))
        self.env.run()
        if self._open:
            raise SimulationError(
                f"policy {self.policy.name!r} holds {self._open} programs back for good at "
                f"{self.replica.now_s:.3f} s with {self.scheduler.pool.free} of "
                f"{self.scheduler.pool.num_blocks} blocks free"
            )
        return totals_of(self.replica)

    def _arrive(self, times: Iterator[tuple[float, Program]]) -> Generator[simpy.Event, Any, None]:
        for arrival_s, program in times:
            if arrival_s > self.env.now:
                yield self.env.instant(arrival_s)
            self.env.process(self._serve(program, arrival_s))

    def _worker(self, programs: Iterator[Program]) -> Generator[simpy.Event, Any, None]:
        now_s = 0.0
        for program in programs:
            now_s = yield self.env.process(self._serve(program, now_s))

    def _serve(self, program: Program, now_s: float) -> Generator[simpy.Event, Any, float]:
        """Live through one program: turn, tool, turn, … until its last token."""
        check_fits(program, self.config)
        env, replica, name = self.env, self.replica, program.program_id
        prefix = program.shared_prefix
        context = self.scheduler.open_context(name, prefix.id if prefix else None, prefix.tokens if prefix else 0)
        arrival_s = now_s
        queue_s = prefill_s = decode_s = tool_s = 0.0
        known_tokens = 0
        known = foresee(program) if self.policy.oracle else None
        last = len(program.turns) - 1
        self._open += 1
        for index, turn in enumerate(program.turns):
            done = env.event()
            request = Request(
                context,
                prompt_tokens=turn.input_tokens,
                kept_tokens=turn.kept_tokens,
                max_tokens=turn.output_tokens,
                known_tokens=min(turn.kept_tokens, known_tokens),
                arrival_s=now_s,
                tool=turn.tool,
                last=index == last,
                foresight=known[index] if known else None,
                payload=done,
            )
            replica.submit(name, request, now_s)
            finish_s: float = yield done
            queue_s += request.scheduled_s - now_s
            prefill_s += request.first_token_s - request.scheduled_s
            decode_s += finish_s - request.first_token_s
            self.recorder.turn(_turn_record(name, index, request, turn.tool_s))
            now_s = finish_s
            known_tokens = turn.input_tokens + turn.output_tokens - 1
            if index < last:
                tool_s += turn.tool_s
                now_s = finish_s + turn.tool_s
                yield env.instant(now_s)
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
            )
        )
        return now_s


def _turn_record(program: str, index: int, request: Request, tool_s: float) -> TurnRecord:
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
        request.computed_tokens,
        request.recomputed_tokens,
        request.num_preemptions,
        request.tool,
        tool_s,
    )
