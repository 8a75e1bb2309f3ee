"""Check a whole trace file, and count what it holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from continuum_sim.traces.header import TraceHeader
from continuum_sim.traces.load import read_programs
from continuum_sim.traces.plausible import Plausibility
from continuum_sim.traces.schema import Program


@dataclass(frozen=True, slots=True)
class CheckedTrace:
    """Contents of a valid trace file.

    Attributes
    ----------
    path
        The file.
    header
        The header line's account of the trace's source, or ``None``.
    programs, children, turns
        Counts; sub-agents count as ``children``, not as ``programs``, and their turns are included.
    programs_with_arrival
        Programs that carry ``arrival_s``; if all do, the trace can be run at its own times.
    input_tokens, new_tokens, output_tokens
        Sums over all turns; new tokens are the prompt tokens that the previous turn did not leave behind.
    tool_s
        Seconds of all gaps.
    plausibility
        What the trace requires of an engine, and which of its numbers are hardly credible.
    """

    path: Path
    header: TraceHeader | None
    programs: int
    children: int
    turns: int
    programs_with_arrival: int
    input_tokens: int
    new_tokens: int
    output_tokens: int
    tool_s: float
    plausibility: Plausibility


def check_trace(
    path: str | os.PathLike[str], *, watch: Callable[[Iterator[Program]], Iterator[Program]] = lambda programs: programs
) -> CheckedTrace:
    """Read a trace file to its end; memory does not grow with the file, except for the program ids.

    Parameters
    ----------
    path
        The file; see `find_trace` for names.
    watch
        Sees the programs pass by, to show progress.

    Raises
    ------
    TraceError
        At the first fault, naming the line, the field, its value and what was expected.
    """
    header: TraceHeader | None = None

    def take_header(found: TraceHeader) -> None:
        nonlocal header
        header = found

    programs = members = turns = with_arrival = new_tokens = 0
    plausibility = Plausibility()
    for program in watch(read_programs(path, on_header=take_header)):
        programs += 1
        plausibility.take(program)
        with_arrival += program.arrival_s is not None
        for member in program.family():
            members += 1
            turns += len(member.turns)
            new_tokens += sum(turn.new_tokens for turn in member.turns)
    return CheckedTrace(
        path=Path(path),
        header=header,
        programs=programs,
        children=members - programs,
        turns=turns,
        programs_with_arrival=with_arrival,
        input_tokens=plausibility.input_tokens,
        new_tokens=new_tokens,
        output_tokens=plausibility.output_tokens,
        tool_s=plausibility.gap_s,
        plausibility=plausibility,
    )
