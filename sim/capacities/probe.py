"""Runs that only serve to measure when programs end and how much work is done."""

from __future__ import annotations

from array import array
from collections.abc import Callable

import numpy as np

from continuum_sim.runs.alone import alone_on
from continuum_sim.runs.execute import serve
from continuum_sim.setup.resolve import ResolvedRun
from continuum_sim.steady.backlog import Backlog
from continuum_sim.world.records import ProgramRecord, TimelineRecord, TurnRecord


class Watch:
    """A recorder that keeps ends, fresh work and samples for objectives, and may stop the run early.

    Parameters
    ----------
    enough
        Called at each end of a program that is not a sub-agent, with the time and the number of such ends so far; the
        run stops if it returns True.
    samples
        Whether to keep times of programs and turns, for objectives.
    """

    def __init__(self, enough: Callable[[float, int], bool] | None = None, *, samples: bool = False) -> None:
        self._enough = enough
        self._samples = samples
        self._finish_s = array("d")
        self._turn_finish_s = array("d")
        self._turn_tokens = array("q")
        self._open_tokens: dict[str, int] = {}
        """Fresh tokens of programs that have not ended."""
        self._program_tokens = array("q")
        self.programs: list[ProgramRecord] = []
        """Programs that have ended, without sub-agents; like the arrays below, only filled with `samples`."""
        self.turn_arrival_s = array("d")
        self.queue_wait_s = array("d")
        self.ttft_s = array("d")
        self.e2el_s = array("d")
        self.tpot_s = array("d")
        """0 for a turn of a single token."""

    def turn(self, record: TurnRecord) -> None:
        """Record a finished turn."""
        tokens = record.computed_tokens - record.recomputed_tokens
        self._turn_finish_s.append(record.finish_s)
        self._turn_tokens.append(tokens)
        self._open_tokens[record.program] = self._open_tokens.get(record.program, 0) + tokens
        if self._samples:
            self.turn_arrival_s.append(record.arrival_s)
            self.queue_wait_s.append(record.scheduled_s - record.arrival_s)
            self.ttft_s.append(record.first_token_s - record.arrival_s)
            self.e2el_s.append(record.finish_s - record.arrival_s)
            self.tpot_s.append((record.finish_s - record.first_token_s) / max(1, record.output_tokens - 1))

    def program(self, record: ProgramRecord) -> None:
        """Record a finished program."""
        tokens = self._open_tokens.pop(record.program, 0)
        if record.parent is not None:
            self._open_tokens[record.parent] = self._open_tokens.get(record.parent, 0) + tokens
            return
        self._finish_s.append(record.finish_s)
        self._program_tokens.append(tokens)
        if self._samples:
            self.programs.append(record)
        if self._enough is not None and self._enough(record.finish_s, len(self._finish_s)):
            raise EnoughError

    def timeline(self, record: TimelineRecord) -> None:
        """Ignore the record."""

    @property
    def finish_s(self) -> np.ndarray:
        """Ends of programs, without sub-agents, in order."""
        return np.frombuffer(self._finish_s)

    @property
    def program_tokens(self) -> np.ndarray:
        """Tokens computed for the first time for each of these programs, including its sub-agents."""
        return np.frombuffer(self._program_tokens, dtype=np.int64)

    @property
    def turns(self) -> tuple[np.ndarray, np.ndarray]:
        """Ends of turns, in order, and the tokens that each computed for the first time."""
        return np.frombuffer(self._turn_finish_s), np.frombuffer(self._turn_tokens, dtype=np.int64)

    @property
    def work(self) -> Backlog:
        """The work done over time."""
        found = Backlog()
        found.done(*self.turns)
        return found


class EnoughError(Exception):
    """Raised to stop a run early, once its purpose is met."""


def observe(run: ResolvedRun, watch: Watch, *, alone: bool = False) -> None:
    """Serve a run until its programs have ended or `watch` stops it; with `alone`, records hold JCTs alone."""
    try:
        serve(run, watch, alone_s=alone_on(run) if alone else None)
    except EnoughError:
        return
