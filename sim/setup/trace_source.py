"""The programs of a run, readable more than once: from a file, a bundled trace, or memory."""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from continuum_sim.engine.config import EngineConfig
from continuum_sim.errors import ConfigError
from continuum_sim.traces.check import check_program
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.load import find_trace, read_programs, trace_sha256
from continuum_sim.traces.repeat import repeat_turns
from continuum_sim.traces.schema import Program, truncate
from continuum_sim.traces.unfit import Fitting, Unfit
from continuum_sim.traces.write import encode_program
from continuum_sim.world.fits import UnfitError, check_fits, longest_context

_KEPT_TURNS: Final = 200_000
"""Most turns of a trace that is kept in memory between readings (about 50 MB); a larger one is read again."""


class TraceSource:
    """A trace, cut to its first `limit` programs with their sub-agents and `max_turns` turns each, then repeated.

    Parameters
    ----------
    trace
        A name or path as `find_trace` takes it, or programs in memory.
    limit, max_turns
        None for all.
    times
        See `repeat_turns`.

    Raises
    ------
    TraceError
        If there is no such trace, or a program in memory breaks a rule of the format.
    """

    def __init__(
        self,
        trace: str | os.PathLike[str] | Iterable[Program],
        limit: int | None = None,
        max_turns: int | None = None,
        times: float = 1.0,
    ) -> None:
        self.path: Path | None = None
        self.asked: str | None = None
        """The name or path as it was given, if it can be read again."""
        self.programs = 0
        """Number of programs; `survey` sets this and the three below."""
        self.children = 0
        """Number of their sub-agents."""
        self.turns = 0
        self.has_arrivals = False
        """Whether every program has an arrival time."""
        self.fitting: Fitting | None = None
        """How programs with contexts too long for the engines are left out or cut, and how many were."""
        self._whole = self
        """The source before any programs were left out or cut."""
        self._served: TraceSource | None = None
        """Last result of `served_by`: the runs of a comparison ask for the same one."""
        self._limit, self._max_turns, self._times = limit, max_turns, times
        self._kept: list[Program] | None = None
        self._surveyed_for: tuple[EngineConfig, ...] = ()
        if isinstance(trace, str | os.PathLike):
            self.path = find_trace(trace)
            self.name = self.path.name
            if self.path.is_file():
                self.asked = os.fspath(trace)
            else:  # a pipe can be read once
                self._kept = list(self._read())
        else:
            self.name = "in memory"
            self._kept = [repeat_turns(program, times) for program in _checked(trace, limit, max_turns)]
        self.sha256 = self._hash()
        """Hash of the file as stored or, without a file, of the programs as they would be written."""

    def __iter__(self) -> Iterator[Program]:
        """Read the programs, starting with the first."""
        programs = iter(self._kept) if self._kept is not None else self._read()
        return programs if self.fitting is None else self.fitting.fresh().apply(programs)

    def __getstate__(self) -> dict[str, Any]:
        """Leave out what another process can read from the file itself."""
        state = self.__dict__.copy()
        if self.path is not None and self.path.is_file():
            state["_kept"] = None
        return state

    def served_by(self, *engines: EngineConfig, unfit: Unfit) -> TraceSource:
        """Return the trace without the programs that none of these engines can hold, or with these cut.

        The returned source has been surveyed.

        Raises
        ------
        TraceError
            At the first line that is not a valid program, or if nothing is left.
        ConfigError
            If a memory tier cannot hold a program.
        """
        whole, fitting = self._whole, Fitting(unfit, longest_context(engines))
        source = whole._served
        if source is None or source.fitting is None or source.fitting.fresh() != fitting:
            source = copy.copy(whole)
            source.fitting, source._surveyed_for = fitting, ()
            whole._served = source
        source.survey(*engines)
        return source

    def survey(self, *engines: EngineConfig, remedies: Callable[[int], str] | None = None) -> None:
        """Read the trace once before a run: count programs and refuse those that can never fit any of these engines.

        Parameters
        ----------
        remedies
            Returns the remedy to print, given the tokens of the longest context.

        Raises
        ------
        TraceError
            At the first line that is not a valid program.
        ConfigError
            Naming the first program that does not fit, and how many do not.
        """
        if self._surveyed_for == engines:
            return
        kept: list[Program] | None = []
        refused: ConfigError | None = None
        self.programs = self.children = self.turns = num_refused = num_timed = longest_tokens = 0
        programs = iter(self._kept) if self._kept is not None else self._read()
        for program in programs if self.fitting is None else self.fitting.apply(programs):
            self.programs += 1
            num_timed += program.arrival_s is not None
            for number, member in enumerate(program.family()):
                self.children += number > 0
                self.turns += len(member.turns)
                try:
                    check_fits(member, *engines)
                except ConfigError as error:
                    refused = refused or error
                    num_refused += 1
                    longest_tokens = max(longest_tokens, member.max_context_tokens)
            if kept is not None:
                kept.append(program)
                if self.turns > _KEPT_TURNS:
                    kept = None
        if refused is not None:
            all_programs = self.programs + self.children
            more = f" ({num_refused} of {all_programs} programs do not fit)" if num_refused > 1 else ""
            remedy = f"; {remedies(longest_tokens)}" if remedies and isinstance(refused, UnfitError) else ""
            raise ConfigError(f"{refused}{more}{remedy}")
        self.has_arrivals = num_timed == self.programs
        self._surveyed_for = engines
        if kept is not None and (self._kept is None or self.fitting is not None):
            self._kept = kept

    def _read(self) -> Iterator[Program]:
        assert self.path is not None
        programs = read_programs(self.path, limit=self._limit, max_turns=self._max_turns)
        return (repeat_turns(program, self._times) for program in programs)

    def _hash(self) -> str:
        if self._kept is None:
            assert self.path is not None
            return trace_sha256(self.path)
        digest = hashlib.sha256()
        for program in self._kept:
            digest.update(encode_program(program))
        return digest.hexdigest()


def _checked(programs: Iterable[Program], limit: int | None, max_turns: int | None) -> list[Program]:
    kept: list[Program] = []
    seen: set[str] = set()
    for program in programs:
        if len(kept) == limit:
            break
        check_program(program)
        for member in program.family():
            if member.program_id in seen:
                raise TraceError("appears twice, expected unique program ids", program_id=member.program_id)
            seen.add(member.program_id)
        kept.append(program if max_turns is None else truncate(program, max_turns))
    if not kept:
        raise TraceError("the trace holds no program, expected at least one")
    return kept
