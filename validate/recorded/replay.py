"""Simulate a log's requests, and read the simulated engine's state at given times."""

from __future__ import annotations

import time
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.validate.judge.observed import KeptRecords
from continuum_sim.validate.recorded.log import RecordedLog, RecordedRequest
from continuum_sim.validate.recorded.timeseries import EngineSeries
from continuum_sim.world.clients import ClientDraws
from continuum_sim.world.records import TimelineRecord, TurnRecord
from continuum_sim.world.simulation import Simulation
from continuum_sim.world.totals import EngineTotals

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Replay:
    """A simulated log."""

    requests: tuple[RecordedRequest, ...]
    """The same requests in the same order, with simulated times."""
    preemptions: tuple[int, ...]
    """Preemptions of each request."""
    totals: EngineTotals
    after_steps: EngineSeries
    """The engine's gauges at the end of every step, one row per step."""
    wall_s: float
    """Wall-clock seconds that the simulation took."""

    @property
    def end_s(self) -> float:
        """Time of the last token."""
        return max(request.last_token_s for request in self.requests)


def replay(log: RecordedLog, run: ResolvedRun) -> Replay:
    """Simulate a log step by step, because the gauges of a real engine show its last step.

    Raises
    ------
    SimulationError
        If the engine is stuck with unfinished work.
    """
    kept = _WithGauges()
    started_s = time.perf_counter()
    simulation = Simulation(
        policy=run.policy,
        config=run.engine,
        step_time=run.step_time,
        recorder=kept,
        stepwise=True,
        clients=ClientDraws(run.config.clients),
    )
    totals = simulation.run(run.trace, run.arrivals, np.random.default_rng(run.config.seed))
    wall_s = time.perf_counter() - started_s
    turns = {turn.program: turn for turn in kept.turns}
    ordered = [turns[request.request_id] for request in log.requests]
    requests = tuple(_request(turn) for turn in ordered)
    return Replay(
        requests=requests,
        preemptions=tuple(turn.preemptions for turn in ordered),
        totals=totals,
        after_steps=kept.gauges(requests, totals.usable_blocks),
        wall_s=wall_s,
    )


def gauges_at(replay: Replay, at_s: Array) -> EngineSeries:
    """Return the simulated engine's gauges at given times, as of the last step before; 0 if there was none."""
    steps = replay.after_steps
    index = np.searchsorted(steps.at_s, at_s, side="right") - 1
    some = index >= 0
    return EngineSeries(at_s, steps.running[index] * some, steps.waiting[index] * some, steps.kv_share[index] * some)


def in_system(requests: Sequence[RecordedRequest], at_s: Array) -> Array:
    """Return how many requests had arrived and not ended, at given times."""
    arrivals = np.sort([one.arrival_s for one in requests])
    ends = np.sort([one.last_token_s for one in requests])
    arrived = np.searchsorted(arrivals, at_s, side="right")
    return (arrived - np.searchsorted(ends, at_s, side="right")).astype(float)


class _WithGauges(KeptRecords):
    """Keeps also the engine's state after every step, in plain arrays because a long run has a million steps."""

    def __init__(self) -> None:
        super().__init__()
        self._end_s = array("d")
        self._in_batch = array("q")
        self._free_blocks = array("q")

    def timeline(self, record: TimelineRecord) -> None:
        """Keep a step."""
        if record.steps:
            self._end_s.append(record.end_s)
            self._in_batch.append(record.running)
            self._free_blocks.append(record.free_blocks)

    def gauges(self, requests: Sequence[RecordedRequest], usable_blocks: int) -> EngineSeries:
        """Return the gauges: requests that ended with a step no longer run; those present but not running wait."""
        end_s = np.array(self._end_s)
        ends = np.sort([request.last_token_s for request in requests])
        ended = np.searchsorted(ends, end_s, side="right") - np.searchsorted(ends, end_s, side="left")
        running = np.array(self._in_batch, dtype=float) - ended
        # Only running turns reference blocks here, because the policy makes no pins.
        used = usable_blocks - np.array(self._free_blocks, dtype=float)
        return EngineSeries(end_s, running, in_system(requests, end_s) - running, used / usable_blocks)


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
