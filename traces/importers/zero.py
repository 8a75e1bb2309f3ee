"""Arrivals of programs that come from files of their own: from the earliest of them on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

import msgspec

from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.schema import Program


def from_the_earliest(programs: Iterable[Program]) -> Iterator[Program]:
    """Yield programs in the order of their arrivals, which are in seconds since 1970, counted from the first one.

    They wait in a `Groups` until all have been seen. Those without an arrival come first.
    """
    waiting = Groups(by_time=True)
    for number, program in enumerate(programs):
        at = float("-inf") if program.arrival_s is None else program.arrival_s
        waiting.add(str(number), msgspec.to_builtins(program), at)
    zero_s: float | None = None
    for _, (row,) in waiting:
        program = msgspec.convert(row, Program)
        if program.arrival_s is None:
            yield program
            continue
        zero_s = program.arrival_s if zero_s is None else zero_s
        yield replace(program, arrival_s=program.arrival_s - zero_s)
