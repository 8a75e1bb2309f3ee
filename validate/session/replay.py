"""Replay programs on an engine in real time, producing the records that a simulation would."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from continuum_sim.traces.schema import Program, Turn
from continuum_sim.validate.engines.interface import Engine, TurnAnswer, TurnRequest
from continuum_sim.validate.judge.engine_clock import EngineTimes
from continuum_sim.validate.session.tokens import Conversation
from continuum_sim.validate.session.workload import Workload
from continuum_sim.world.records import ProgramRecord, Recorder, TurnRecord


@dataclass(frozen=True)
class Replay:
    """Result of one replay, besides its records."""

    start_s: float
    """Time 0 of the records, on the event loop's clock."""
    end_s: float
    """Time of the last token, since the start."""
    tells_cached: bool
    """True if the engine reported the cached tokens of every turn; otherwise the records say 0."""
    tells_preemptions: bool
    engine_times: tuple[EngineTimes, ...]
    """When the engine itself had every turn, if it reports that."""


async def replay(engine: Engine, workload: Workload, recorder: Recorder, seed: int) -> Replay:
    """Serve all programs: each arrives at its time, waits for its tools, and sends its next turn.

    Raises
    ------
    EngineError
        At the first turn that fails; the others are cancelled.
    """
    run = _Run(engine, recorder, seed)
    try:
        async with asyncio.TaskGroup() as group:
            if workload.workers is None:
                for program in workload.programs:
                    assert program.arrival_s is not None
                    group.create_task(run.serve(program, program.arrival_s))
            else:
                programs = iter(workload.programs)
                for _ in range(workload.workers):
                    group.create_task(run.work(programs))
    except* Exception as failures:
        raise _first(failures) from None
    return Replay(run.start_s, run.end_s, run.tells_cached, run.tells_preemptions, tuple(run.engine_times))


def _first(failures: BaseExceptionGroup[Exception]) -> Exception:
    failure: BaseException = failures
    while isinstance(failure, BaseExceptionGroup):
        failure = failure.exceptions[0]
    assert isinstance(failure, Exception)
    return failure


class _Run:
    def __init__(self, engine: Engine, recorder: Recorder, seed: int) -> None:
        self._engine = engine
        self._recorder = recorder
        self._seed = seed
        self._loop = asyncio.get_running_loop()
        self.start_s = self._loop.time()
        self.end_s = 0.0
        self.tells_cached = self.tells_preemptions = True
        self.engine_times: list[EngineTimes] = []

    async def work(self, programs: Iterator[Program]) -> None:
        """Run one worker of a closed loop: one program after the other."""
        now_s = 0.0
        for program in programs:
            now_s = await self.serve(program, now_s)

    async def serve(self, program: Program, arrival_s: float) -> float:
        """Serve one program; return when its last token came. Times count from the start of the run."""
        conversation = Conversation(program, self._engine.facts.vocab_size, self._seed)
        due_s = arrival_s
        queue_s = prefill_s = decode_s = tool_s = 0.0
        known_tokens = 0
        last = len(program.turns) - 1
        for index, turn in enumerate(program.turns):
            prompt = conversation.prompt(index)
            await self._sleep_until(due_s)
            name = program.program_id
            request = TurnRequest(f"{name}/{index}", prompt, turn.output_tokens, name, turn.tool, index == last)
            answer = await self._engine.turn(request)
            conversation.generated(answer.token_ids)
            if answer.queued_s is not None and answer.last_token_s is not None:
                self.engine_times.append(EngineTimes(name, index, answer.queued_s, answer.last_token_s))
            record = self._record(name, index, turn, due_s, answer, min(turn.kept_tokens, known_tokens))
            self._recorder.turn(record)
            queue_s += record.scheduled_s - due_s
            prefill_s += record.first_token_s - record.scheduled_s
            decode_s += record.finish_s - record.first_token_s
            known_tokens = turn.context_tokens - 1  # the last sampled token has no KV
            due_s = record.finish_s
            if index < last:
                tool_s += turn.tool_s
                due_s += turn.tool_s
        self.end_s = max(self.end_s, due_s)
        self._recorder.program(
            ProgramRecord(
                program.program_id,
                len(program.turns),
                arrival_s,
                due_s,
                due_s - arrival_s,
                queue_s,
                prefill_s,
                decode_s,
                tool_s,
            )
        )
        return due_s

    async def _sleep_until(self, at_s: float) -> None:
        delay_s = self.start_s + at_s - self._loop.time()
        if delay_s > 0:
            await asyncio.sleep(delay_s)

    def _record(
        self, program: str, index: int, turn: Turn, due_s: float, answer: TurnAnswer, known_tokens: int
    ) -> TurnRecord:
        """Convert an answer to the simulator's record; what a server does not report counts as none."""
        cached = answer.cached_tokens or 0
        self.tells_cached &= answer.cached_tokens is not None
        self.tells_preemptions &= answer.preemptions is not None
        first_token_s = answer.first_token_s - self.start_s
        # A server does not report when a turn left the queue, so all its time to first token counts as prefill.
        scheduled_s = due_s if answer.scheduled_s is None else answer.scheduled_s - self.start_s
        return TurnRecord(
            program,
            index,
            due_s,
            scheduled_s,
            first_token_s,
            answer.finish_s - self.start_s,
            turn.input_tokens,
            turn.output_tokens,
            cached,
            turn.context_tokens - 1 - cached,
            max(0, known_tokens - cached),
            answer.preemptions or 0,
            turn.tool,
            turn.tool_s,
        )
