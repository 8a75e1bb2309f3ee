"""The simulated side: the log's requests through the simulator, and the engine's state at given times."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continuum_sim.records import TimelineRecord, TurnRecord
from continuum_sim.resolve import ResolvedRun
from continuum_sim.simulation import EngineTotals, Simulation
from continuum_sim.validate.kept_records import KeptRecords
from continuum_sim.validate.recorded.log import RecordedLog, RecordedRequest
from continuum_sim.validate.recorded.timeseries import EngineSeries

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Replay:
    """A log, simulated."""

    requests: tuple[RecordedRequest, ...]
    """The same requests in the same order, with simulated times."""
    preemptions: tuple[int, ...]
    """Of each request."""
    totals: EngineTotals
    timeline: tuple[TimelineRecord, ...]
    wall_s: float
    """Real seconds the simulation took."""

    @property
    def end_s(self) -> float:
        """When the last token of all was out."""
        return max(request.last_token_s for request in self.requests)


def replay(log: RecordedLog, run: ResolvedRun) -> Replay:
    """Simulate a log.

    Raises
    ------
    SimulationError
        If the engine stands still with work left.
    """
    kept = _WithTimeline()
    started_s = time.perf_counter()
    simulation = Simulation(policy=run.policy, config=run.engine, step_time=run.step_time, recorder=kept)
    totals = simulation.run(run.trace, run.arrivals, np.random.default_rng(run.config.seed))
    wall_s = time.perf_counter() - started_s
    turns = {turn.program: turn for turn in kept.turns}
    ordered = [turns[request.request_id] for request in log.requests]
    return Replay(
        requests=tuple(_request(turn) for turn in ordered),
        preemptions=tuple(turn.preemptions for turn in ordered),
        totals=totals,
        timeline=tuple(kept.stretches),
        wall_s=wall_s,
    )


def gauges_at(replay: Replay, at_s: Array) -> EngineSeries:
    """Read the simulated engine's state at given times, as its own metrics would have shown it."""
    starts = np.array([one.start_s for one in replay.timeline])
    index = np.searchsorted(starts, at_s, side="right") - 1
    inside = np.array([i >= 0 and at <= replay.timeline[i].end_s for i, at in zip(index, at_s, strict=True)])
    running = np.array([replay.timeline[i].running for i in index], dtype=float) * inside
    # Nothing but running turns references blocks here, since the policy makes no pins.
    used = np.array([replay.totals.usable_blocks - replay.timeline[i].free_blocks for i in index]) * inside
    waiting = np.maximum(in_system(replay.requests, at_s) - running, 0.0)
    return EngineSeries(at_s, running, waiting, used / replay.totals.usable_blocks)


def in_system(requests: Sequence[RecordedRequest], at_s: Array) -> Array:
    """How many requests had arrived and not ended, at given times."""
    arrivals = np.sort([one.arrival_s for one in requests])
    ends = np.sort([one.last_token_s for one in requests])
    arrived = np.searchsorted(arrivals, at_s, side="right")
    return (arrived - np.searchsorted(ends, at_s, side="right")).astype(float)


class _WithTimeline(KeptRecords):
    """Keeps the engine's stretches as well."""

    def __init__(self) -> None:
        super().__init__()
        self.stretches: list[TimelineRecord] = []

    def timeline(self, record: TimelineRecord) -> None:
        """Keep a stretch of steps."""
        self.stretches.append(record)


def _request(turn: TurnRecord) -> RecordedRequest:
    return RecordedRequest(
        request_id=turn.program,
        arrival_s=turn.arrival_s,
        input_tokens=turn.prompt_tokens,
        output_tokens=turn.output_tokens,
        first_token_s=turn.first_token_s,
        last_token_s=turn.finish_s,
        scheduled_s=turn.scheduled_s,
    )
