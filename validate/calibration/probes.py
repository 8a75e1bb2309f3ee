"""Two ways to measure the steps of a point: from the engine's own log, or from the client's side."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from statistics import fmean, median
from typing import Protocol

import msgspec

from continuum_sim.steptime.batch import StepBatch, prefill_of
from continuum_sim.validate.calibration.measure import Measured, PointAnswers, Prompts, run_point, wanted
from continuum_sim.validate.calibration.points import Point
from continuum_sim.validate.engines.interface import Engine
from continuum_sim.validate.steplog import LoggedStep, time_steps

_ROUND_TRIPS = 15


class Probe(Protocol):
    """Measures points on one engine."""

    async def measure(self, point: Point, prompts: Prompts) -> list[Measured]:
        """Put the engine into the point's situation and return the steps that count."""


class LogProbe:
    """Reads the step log while the engine writes it; sees every step."""

    def __init__(self, engine: Engine, log: Path) -> None:
        self._engine = engine
        self._log = log
        self._offset = log.stat().st_size
        self._decode = msgspec.json.Decoder(LoggedStep).decode

    async def measure(self, point: Point, prompts: Prompts) -> list[Measured]:
        """Run the point and read its steps from the log."""
        self._new_steps()
        await run_point(self._engine, point, prompts)
        steps = [Measured(step.batch, step.seconds) for step in time_steps(self._new_steps())]
        return wanted(point, steps, self._engine.facts.drafts)

    def _new_steps(self) -> list[LoggedStep]:
        with self._log.open("rb") as file:
            file.seek(self._offset)
            text = file.read()
        whole = text.rfind(b"\n") + 1
        self._offset += whole
        return [self._decode(line) for line in text[:whole].splitlines()]


class ClientProbe:
    """Times tokens as they reach the client of a server; sees prefills of one step and decoding batches.

    A prefill's step time is its time to first token less the round trip. The round trip is the time to first token of a
    one-token prompt less the step of a single decoding turn: those two steps compute the same.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._round_trip_s: float | None = None

    async def measure(self, point: Point, prompts: Prompts) -> list[Measured]:
        """Run the point if its steps can be told apart from outside."""
        chunk = self._engine.facts.max_num_batched_tokens
        if point.new + point.decodes > chunk or (point.new and point.decodes):
            return []
        if self._round_trip_s is None:
            self._round_trip_s = await self._measure_round_trip(prompts)
        answers = await run_point(self._engine, point, prompts)
        if point.new:
            return self._prefills(point, answers)
        return _decodes(point, answers)

    async def _measure_round_trip(self, prompts: Prompts) -> float:
        samples = []
        for _ in range(_ROUND_TRIPS):
            answers = await run_point(self._engine, Point(decodes=1, context=1), prompts)
            called_s, answer = answers.decoding[0]
            steps_s = _gaps(answer.token_times_s)
            samples.append(answer.first_token_s - called_s - median(steps_s))
        return max(0.0, median(samples))

    def _prefills(self, point: Point, answers: PointAnswers) -> list[Measured]:
        batch = prefill_of(point.new, point.cached)
        assert self._round_trip_s is not None
        seconds = [a.answer.first_token_s - a.called_s - self._round_trip_s for a in answers.prefills]
        return [Measured(batch, s) for s in seconds if s > 0]


def _decodes(point: Point, answers: PointAnswers) -> list[Measured]:
    """Return the steps from when all turns decode until the first one ends, as one average step."""
    times = [asked.answer.token_times_s for asked in answers.decoding]
    start_s, end_s = max(t[0] for t in times), min(t[-1] for t in times)
    # The step that yields token k (from 0) attends to the prompt and k tokens.
    brought = [[k for k, at_s in enumerate(t) if start_s < at_s <= end_s] for t in times]
    steps = min(map(len, brought))
    if steps < 2:
        return []
    context = round(sum(point.context + fmean(tokens) for tokens in brought))
    return [Measured(StepBatch(0, 0, 0, 0, point.decodes, context), (end_s - start_s) / steps)]


def _gaps(times_s: Sequence[float]) -> list[float]:
    return [later - sooner for sooner, later in pairwise(times_s)]


def make_probe(engine: Engine) -> Probe:
    """Choose the best probe that the engine allows."""
    return ClientProbe(engine) if engine.step_log is None else LogProbe(engine, engine.step_log)
