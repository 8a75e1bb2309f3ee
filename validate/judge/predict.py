"""Simulate a workload on an engine, several times with random client delays drawn from the measured ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from continuum_sim.engine.config import EngineConfig
from continuum_sim.results.decisions import DecisionRecord, keep_decisions
from continuum_sim.setup.notation import parse_policy
from continuum_sim.steptime.batch import StepBatch, prefill_of
from continuum_sim.steptime.model import StepTime
from continuum_sim.traces.schema import Program
from continuum_sim.validate.calibration.delays import ClientDelays
from continuum_sim.validate.judge.observed import KeptRecords
from continuum_sim.validate.session.workload import Workload
from continuum_sim.world.drafts import DraftDraws
from continuum_sim.world.records import ProgramRecord, TurnRecord
from continuum_sim.world.simulation import Simulation
from continuum_sim.world.totals import EngineTotals


@dataclass(frozen=True)
class Forecast:
    """One simulated replay as the client would see it."""

    programs: tuple[ProgramRecord, ...]
    turns: tuple[TurnRecord, ...]
    totals: EngineTotals
    decisions: tuple[DecisionRecord, ...]
    """The decision log."""


def forecast(
    workload: Workload,
    policy: str,
    config: EngineConfig,
    step_time: StepTime,
    delays: ClientDelays,
    *,
    draws: int = 1,
    seed: int = 0,
) -> list[Forecast]:
    """Simulate a replay `draws` times.

    The first draw adds the mean delay between engine and client to every gap; each further one draws every gap's delay
    from the measured ones. Each draws its own accepted drafts. On a saturated engine such milliseconds decide which
    turn comes first, and one simulation is no closer to the truth than one replay, so their mean is the forecast.
    """
    rng = np.random.default_rng(seed)
    found = []
    for draw in range(draws):
        drawn = [_with_delays(program, delays, rng if draw else None) for program in workload.programs]
        found.append(_simulate(drawn, workload, policy, config, step_time, delays, DraftDraws(draw)))
    return found


def _simulate(
    programs: list[Program],
    workload: Workload,
    policy: str,
    config: EngineConfig,
    step_time: StepTime,
    delays: ClientDelays,
    drafts: DraftDraws,
) -> Forecast:
    kept = KeptRecords()
    decisions: list[DecisionRecord] = []
    simulation = Simulation(
        policy=parse_policy(policy),
        config=config,
        step_time=step_time,
        recorder=kept,
        timeline=False,
        log=keep_decisions(decisions),
        drafts=drafts,
    )
    totals = simulation.run(programs, workload.arrivals, np.random.default_rng(0))
    submit_s, answer_s = delays.mean_submit_s(), delays.mean_answer_s()
    tool_s = {program.program_id: sum(turn.tool_s for turn in program.turns) for program in workload.programs}
    return Forecast(
        tuple(_program_seen(record, submit_s, answer_s, tool_s[record.program]) for record in kept.programs),
        tuple(record._replace(arrival_s=record.arrival_s - submit_s) for record in kept.turns),
        totals,
        tuple(decisions),
    )


def _with_delays(program: Program, delays: ClientDelays, rng: np.random.Generator | None) -> Program:
    """Return the program as the engine sees it: it arrives a little later, and every gap is a little longer."""
    mean_s = delays.mean_gap_s()
    *gaps, last = program.turns
    turns = [
        # Of tools called at once only the longest counts: the client has a worker for each.
        replace(turn, tool_s=turn.tool_s + (mean_s if rng is None else delays.draw_gap_s(rng)), tools=())
        for turn in gaps
    ]
    arrival_s = program.arrival_s
    if arrival_s is not None:
        arrival_s += delays.mean_submit_s()
    return replace(program, turns=(*turns, last), arrival_s=arrival_s)


def _program_seen(record: ProgramRecord, submit_s: float, answer_s: float, tool_s: float) -> ProgramRecord:
    """Return the client's view of an engine-side record; delays within gaps do not count as tool time."""
    arrival_s, finish_s = record.arrival_s - submit_s, record.finish_s + answer_s
    return record._replace(
        arrival_s=arrival_s,
        finish_s=finish_s,
        jct_s=finish_s - arrival_s,
        queue_s=record.queue_s + submit_s + record.tool_s - tool_s,
        decode_s=record.decode_s + answer_s,
        tool_s=tool_s,
    )


def prefill_alone_s(step_time: StepTime, new: int, cached: int, chunk_tokens: int) -> float:
    """Return the seconds to compute `new` prompt tokens after `cached` ones on an otherwise idle engine."""
    return sum(step_time.step_s(batch) for batch in _chunks(new, cached, chunk_tokens))


def _chunks(new: int, cached: int, chunk_tokens: int) -> Iterator[StepBatch]:
    start, end = cached, cached + new
    while start < end:
        chunk = min(chunk_tokens, end - start)
        yield prefill_of(chunk, start)
        start += chunk
