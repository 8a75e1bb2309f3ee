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


class _Planning(NamedTuple):
    """A call of vLLM's scheduler that may have been the first to see a turn."""

    start_s: float
    step: int
    """The step whose begin is its time in the simulator."""
    ahead: bool
    """Whether another step ran meanwhile."""


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

    vLLM receives requests between the end of a step and the planning of another; to the simulator that is one moment.
    Asynchronous scheduling plans a step when the one before the running one ends, an idle engine's first two at once;
    what vLLM receives between those two is in `between_s`.
    The plug-in dates a turn back to when it reached the server. Its policy learns from that arrival, so it is
    used here whenever the same planning would still be the first to see the turn.
    """

    def __init__(self, log: EngineLog) -> None:
        self._steps: list[LoggedStep] = []
        self._begins_s: list[float] = []
        self._ends_s: list[float] = []
        self._plannings: list[_Planning] = []
        for logged, begin_s in zip(log.steps, begins(log.steps), strict=True):
            if logged.start_s >= log.start_s:  # else it was planned in vain as the engine was warmed up
                self._take(logged, logged.start_s - log.start_s, begin_s - log.start_s, logged.end_s - log.start_s)
        if not self._steps:
            raise ValueError("the log holds no step of the replay")
        self.end_s: dict[tuple[str, int], float] = {}
        """End of the step that brought a turn's last token."""
        self.arrival_s: dict[tuple[str, int], float] = {}
        """Arrival of every turn."""
        self.between_s: list[float] = []
        """Arrivals, ascending, that only the second of two plannings at one moment saw: just after that moment."""
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

    def _take(self, step: LoggedStep, start_s: float, begin_s: float, end_s: float) -> None:
        """Take a step of the replay from the log."""
        ahead = bool(self._ends_s) and start_s < self._ends_s[-1]
        if computes(step.batch):
            self._steps.append(step)
            self._begins_s.append(begin_s)
            self._ends_s.append(end_s)
        elif not ahead:
            return  # the simulator sleeps where vLLM tries again every millisecond
        # One planned ahead is planned as the running step begins.
        running = len(self._steps) - (2 if ahead and computes(step.batch) else 1)
        self._plannings.append(_Planning(start_s, running, ahead))

    def _arrive(self, log: EngineLog) -> None:
        told_s = self._told_arrivals(log)
        seen_by: defaultdict[int, list[EngineTimes]] = defaultdict(list)
        starts_s = [planning.start_s for planning in self._plannings]
        for turn in sorted(log.times, key=lambda turn: turn.queued_s):
            planning = bisect_left(starts_s, turn.queued_s - log.start_s)
            seen_by[min(planning, len(starts_s) - 1)].append(turn)
        for number, turns in seen_by.items():
            _, step, ahead = self._plannings[number]
            idle = not ahead and (step == 0 or self._begins_s[step] > self._ends_s[step - 1])
            if idle:
                earliest_s = self._ends_s[step - 1] + _APART_S if step else 0.0
            else:
                earliest_s = self._begins_s[self._plannings[number - 1].step] + _APART_S
            second = ahead and self._plannings[number - 1].step == step
            last_s = self._begins_s[step] + second * len(turns) * _APART_S
            for rank, turn in enumerate(turns):
                latest_s = last_s - (len(turns) - 1 - rank) * _APART_S
                wanted_s = told_s.get((turn.program, turn.turn), latest_s)
                arrival_s = min(latest_s, max(earliest_s, wanted_s))
                self.arrival_s[turn.program, turn.turn] = arrival_s
                earliest_s = arrival_s + _APART_S
                if second:
                    self.between_s.append(arrival_s)
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
