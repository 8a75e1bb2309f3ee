"""A replay on the engine's own clock: when it received and ended every turn, and how long it was busy with every
step. A simulation with these numbers meets every turn in the same step as the engine did.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from continuum_sim.policies.instants import SAME_INSTANT_S
from continuum_sim.results.decisions import DecisionRecord
from continuum_sim.traces.schema import Program
from continuum_sim.validate.steplog import LoggedStep, TimedStep, begins, computes

_APART_S = 2 * SAME_INSTANT_S
"""Distance between two turns that the same step finds, so that they keep their order."""


class EngineTimes(NamedTuple):
    """When the engine itself had a turn, on the machine's monotonic clock."""

    program: str
    turn: int
    queued_s: float
    last_token_s: float


@dataclass(frozen=True)
class EngineLog:
    """One replay as its engine saw it."""

    steps: Sequence[LoggedStep]
    times: Sequence[EngineTimes]
    start_s: float
    """Time 0 of the replay's records on the machine's monotonic clock."""
    decisions: Sequence[DecisionRecord] = ()
    """The plug-in's log, on the plug-in's own clock; empty if vLLM's own scheduler decided."""


class EngineClock:
    """Puts arrivals and ends of turns where the simulator has them. Times in seconds since the start of the replay.

    vLLM receives requests between the end of a step and the start of the next; to the simulator that is one moment.
    The plug-in dates a turn back to when it reached the server. Its policy learns from that arrival, so it is
    used here whenever the same step would still be the first to see the turn.
    """

    def __init__(self, log: EngineLog) -> None:
        self._steps = [step for step in log.steps if computes(step.batch) and step.end_s > log.start_s]
        kept = {id(step) for step in self._steps}
        at = [begin_s for step, begin_s in zip(log.steps, begins(log.steps), strict=True) if id(step) in kept]
        self._begins_s = [begin_s - log.start_s for begin_s in at]
        self._starts_s = [step.start_s - log.start_s for step in self._steps]
        self._ends_s = [step.end_s - log.start_s for step in self._steps]
        if not self._steps:
            raise ValueError("the log holds no step of the replay")
        self.end_s: dict[tuple[str, int], float] = {}
        """End of the step that brought a turn's last token."""
        self.arrival_s: dict[tuple[str, int], float] = {}
        """Arrival of every turn."""
        for turn in log.times:
            step = min(bisect_left(self._ends_s, turn.last_token_s - log.start_s), len(self._steps) - 1)
            self.end_s[turn.program, turn.turn] = self._ends_s[step]
        self._arrive(log)

    @property
    def steps(self) -> list[TimedStep]:
        """Steps that computed something, with the time the engine was busy with each."""
        spans = zip(self._steps, self._begins_s, self._ends_s, strict=True)
        return [TimedStep(end_s, end_s - begin_s, step.batch) for step, begin_s, end_s in spans]

    def jct_s(self, program: Program) -> float:
        """Job completion time of a program."""
        name = program.program_id
        return self.end_s[name, len(program.turns) - 1] - self.arrival_s[name, 0]

    def _arrive(self, log: EngineLog) -> None:
        told_s = self._told_arrivals(log)
        seen_by: defaultdict[int, list[EngineTimes]] = defaultdict(list)
        for turn in sorted(log.times, key=lambda turn: turn.queued_s):
            step = bisect_left(self._starts_s, turn.queued_s - log.start_s)
            seen_by[min(step, len(self._steps) - 1)].append(turn)
        for step, turns in seen_by.items():
            idle = step == 0 or self._begins_s[step] > self._ends_s[step - 1]
            earliest_s = (self._ends_s[step - 1] if idle else self._begins_s[step - 1]) + _APART_S if step else 0.0
            for rank, turn in enumerate(turns):
                latest_s = self._begins_s[step] - (len(turns) - 1 - rank) * _APART_S
                wanted_s = told_s.get((turn.program, turn.turn), latest_s)
                arrival_s = min(latest_s, max(earliest_s, wanted_s))
                self.arrival_s[turn.program, turn.turn] = arrival_s
                earliest_s = arrival_s + _APART_S
            if idle:
                # The simulator starts with the turn that wakes it.
                self._begins_s[step] = self.arrival_s[turns[0].program, turns[0].turn]

    def _told_arrivals(self, log: EngineLog) -> dict[tuple[str, int], float]:
        """Return arrivals from the plug-in's log, so that every gap is as long as its policy saw it."""
        arrived = {(d.program, d.turn): d.time_s for d in log.decisions if d.event == "arrive"}
        ended = {(d.program, d.turn): d.time_s for d in log.decisions if d.event in ("pin", "release", "evict")}
        offsets = [
            turn.last_token_s - log.start_s - ended[turn.program, turn.turn]
            for turn in log.times
            if (turn.program, turn.turn) in ended
        ]
        if not offsets:
            return {}
        told_s = {}
        for (program, turn), at_s in arrived.items():
            before = ended.get((program, turn - 1))
            if before is None:
                told_s[program, turn] = at_s + median(offsets)
            elif (program, turn - 1) in self.end_s:
                told_s[program, turn] = self.end_s[program, turn - 1] + (at_s - before)
        return told_s
