"""A trace over and over, each time in another order: as many programs as one wants, of the ones there are."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from continuum_sim.traces.schema import Program

_MARK: Final = "#"


def passes(programs: Sequence[Program], rng: np.random.Generator) -> Iterator[Program]:
    """Yield the programs without end: all of them in a random order, then all again in another.

    Whole passes keep the mix of programs that the trace has, which draws with replacement would not: a run's mean work
    then differs less from the trace's. Arrival times are left out. From the second pass on ids are ``ID#2``, ``ID#3``
    and so on (with more marks where an id of the trace has one); shared prefixes stay shared.
    """
    mark = _MARK
    while any(mark in member.program_id for program in programs for member in program.family()):
        mark += _MARK
    for number in itertools.count(1):
        for place in rng.permutation(len(programs)).tolist():
            yield _copy(programs[place], f"{mark}{number}" if number > 1 else "")


def _copy(program: Program, suffix: str) -> Program:
    children = tuple(replace(child, program=_copy(child.program, suffix)) for child in program.children)
    return replace(program, program_id=program.program_id + suffix, arrival_s=None, children=children)
