"""Observations of a replay, simulated or measured: its records, and the fate of every turn's blocks."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from continuum_sim.results.decisions import DecisionRecord, read_decisions
from continuum_sim.validate.engines.in_process import COUNTS, DECISIONS, STEPS
from continuum_sim.validate.judge.engine_clock import EngineLog, EngineTimes
from continuum_sim.validate.judge.statistics import Array
from continuum_sim.validate.session.files import ENGINE_TIMES, SessionFiles, read_json, read_records, slug
from continuum_sim.validate.steplog import TimedStep, computes, read_steps, time_steps
from continuum_sim.world.records import ProgramRecord, TimelineRecord, TurnRecord

PINS = ("pins_made", "pins_hit", "pins_expired", "pins_broken")
"""Counts that both the simulator and the plug-in keep."""

DRAFTS = ("verifications", "drafted_tokens", "accepted_tokens")
"""Counts of drafts: steps of a turn, the drafts they verified, and those accepted."""

Fates = dict[tuple[str, int], str]
"""(program, turn) to `release`, `evict`, `hit`, `expire` or `break`; the last three are ends of a pin."""


class KeptRecords:
    """Recorder that keeps the turns and programs of one run in memory, in the order of their ends."""

    def __init__(self) -> None:
        self.turns: list[TurnRecord] = []
        self.programs: list[ProgramRecord] = []

    def turn(self, record: TurnRecord) -> None:
        """Keep a turn."""
        self.turns.append(record)

    def program(self, record: ProgramRecord) -> None:
        """Keep a program."""
        self.programs.append(record)

    def timeline(self, record: TimelineRecord) -> None:
        """Ignore the timeline."""


def turn_fates(decisions: Iterable[DecisionRecord]) -> Fates:
    """Return the fate of every finished turn's blocks; a pin that nothing ended counts as hit.

    Last turns are left out: their blocks are released under any policy.
    """
    fates: Fates = {}
    for decision in decisions:
        key = decision.program, decision.turn
        if decision.event in ("pin", "release", "evict"):
            if not decision.detail.get("last"):
                fates[key] = "hit" if decision.event == "pin" else decision.event
        elif decision.event in ("expire", "break"):
            fates[key] = decision.event
    return fates


@dataclass(frozen=True)
class Observation:
    """One replay, simulated or measured."""

    programs: list[ProgramRecord]
    turns: list[TurnRecord]
    counts: Mapping[str, float] | None = None
    """What the policy did, if known."""
    drafts: Mapping[str, float] | None = None
    """What drafts there were, if known; steps that verified none count too."""
    engine_steps: int | None = None
    """Steps that computed something, if known."""
    log: EngineLog | None = None
    """What the engine logged of a measured replay, if anything."""
    fates: Fates | None = None
    """Fate of every turn's blocks, if decisions were logged."""
    tells_cached: bool = True
    """True if the turns' cached tokens are known."""
    tells_preemptions: bool = True

    @cached_property
    def steps(self) -> list[TimedStep]:
        """Steps of the replay that computed something, if the engine logged them."""
        return [] if self.log is None else time_steps(self.log.steps, self.log.start_s)

    @cached_property
    def jct_s(self) -> Array:
        """Job completion times, sorted by program name."""
        return np.array([p.jct_s for p in sorted(self.programs)])

    @cached_property
    def ttft_s(self) -> Array:
        """Times to first token of all turns."""
        return np.array([turn.first_token_s - turn.arrival_s for turn in self.turns])

    @cached_property
    def cached_tokens(self) -> dict[tuple[str, int], int]:
        """Cached tokens of every turn."""
        return {(turn.program, turn.turn): turn.cached_tokens for turn in self.turns}

    @property
    def end_s(self) -> float:
        """Time of the last token."""
        return max(program.finish_s for program in self.programs)

    @property
    def output_tokens_per_s(self) -> float:
        """Throughput over the whole replay, from time 0."""
        return sum(turn.output_tokens for turn in self.turns) / self.end_s

    @property
    def preemptions(self) -> int:
        """Number of preemptions over all turns."""
        return sum(turn.preemptions for turn in self.turns)


@dataclass(frozen=True)
class PolicyObservations:
    """All observations of one policy."""

    policy: str
    simulated: list[Observation]
    measured: list[Observation]


def read_simulated(files: SessionFiles, policy: str) -> list[Observation]:
    """Read the draws of a policy's prediction."""
    predictions = files.predictions()
    assert predictions is not None
    draws: list[dict[str, Any]] = predictions["policies"][policy]
    found = []
    for number, draw in enumerate(draws):
        folder = files.root / "predictions" / slug(policy) / f"draw{number}"
        programs, turns = read_records(folder)
        fates = turn_fates(read_decisions(folder / DECISIONS))
        totals = draw["totals"]
        counts, drafts = ({name: totals.get(name, 0) for name in names} for names in (PINS, DRAFTS))
        found.append(Observation(programs, turns, counts, drafts, totals["steps"], fates=fates))
    return found


def read_measured(folder: Path, run: Mapping[str, Any]) -> Observation:
    """Read one finished run."""
    programs, turns = read_records(folder)
    counts = None
    if (folder / COUNTS).exists():
        kept = read_json(folder / COUNTS)["counts"]
        counts = {name: kept[name] for name in PINS}
    decisions = read_decisions(folder / DECISIONS) if (folder / DECISIONS).exists() else None
    fates = None if decisions is None else turn_fates(decisions)
    log = None
    if (folder / STEPS).exists():
        times = [EngineTimes(**entry) for entry in json.loads((folder / ENGINE_TIMES).read_text(encoding="utf-8"))]
        log = EngineLog(read_steps(folder / STEPS), times, run["start_s"], decisions or ())
    drafts, steps = (None, None) if log is None else _drafts_of(log)
    known = run["tells_cached"], run["tells_preemptions"]
    return Observation(programs, turns, counts, drafts, steps, log, fates, *known)


def _drafts_of(log: EngineLog) -> tuple[dict[str, float], int]:
    """Return what a logged replay drafted, and the steps it took."""
    steps = [step for step in log.steps if step.end_s > log.start_s]
    verified = [counts for step in steps for counts in step.verified.values()]
    drafted, accepted = (sum(counts[at] for counts in verified) for at in (0, 1))
    drafts = dict(zip(DRAFTS, map(float, (len(verified), drafted, accepted)), strict=True))
    return drafts, sum(computes(step.batch) for step in steps)


def read_observations(files: SessionFiles, policies: list[str]) -> list[PolicyObservations]:
    """Read all finished runs, policies in the given order; policies without a run are left out."""
    finished = sorted(files.finished(), key=lambda item: item[0].repeat)
    found = []
    for policy in policies:
        measured = [read_measured(folder, run) for key, folder, run in finished if key.policy == policy]
        if measured:
            found.append(PolicyObservations(policy, read_simulated(files, policy), measured))
    return found
