"""Reuse a trace's programs, reordered on each pass, to get any number of programs."""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from continuum_sim.traces.schema import Program

_MARK: Final = "#"
_DRAWN_MARK: Final = "~"


def draw(programs: Sequence[Program], rng: np.random.Generator) -> list[Program]:
    """Draw as many programs as there are, with replacement and without arrival times.

    Repeated draws are named ``ID~2``, ``ID~3`` and so on (with more marks if an id contains one), and so are their
    sub-agents.
    """
    mark = free_mark(programs, _DRAWN_MARK)
    times: Counter[int] = Counter()
    drawn = []
    for place in rng.integers(len(programs), size=len(programs)).tolist():
        times[place] += 1
        drawn.append(_copy(programs[place], f"{mark}{times[place]}" if times[place] > 1 else ""))
    return drawn


def passes(programs: Sequence[Program], rng: np.random.Generator) -> Iterator[Program]:
    """Yield the programs endlessly: all of them in random order, then all again in another order.

    Whole passes keep the trace's mix of programs, unlike draws with replacement, so a run's mean work differs less from
    the trace's. Arrival times are left out. From the second pass on ids are ``ID#2``, ``ID#3``
    and so on (with more marks if an id of the trace contains one); shared prefixes stay shared.
    """
    mark = free_mark(programs, _MARK)
    for number in itertools.count(1):
        for place in rng.permutation(len(programs)).tolist():
            yield _copy(programs[place], f"{mark}{number}" if number > 1 else "")


def extra_passes(programs: Iterable[Program], number: int, rng: np.random.Generator, mark: str) -> Iterator[Program]:
    """Yield `number` copies in whole passes as above; with the mark ``+`` they are ``ID+1``, ``ID+2``, …

    `programs` must allow two readings; only those that are wanted are kept.
    """
    total = sum(1 for _ in programs)
    order = rng.permutation(total)
    wanted = set(order[:number].tolist())
    kept = {place: program for place, program in enumerate(programs) if place in wanted}
    for left in range(number):
        count, place = divmod(left, total)
        if count and not place:
            order = rng.permutation(total)
        yield _copy(kept[int(order[place])], f"{mark}{count + 1}")


def free_mark(programs: Iterable[Program], mark: str) -> str:
    """Repeat a mark once more than it occurs in a row in any id, so that no id contains it."""
    rows = re.compile(f"{re.escape(mark)}+")
    ids = (member.program_id for program in programs for member in program.family())
    return mark * (1 + max((len(row) for name in ids for row in rows.findall(name)), default=0))


def _copy(program: Program, suffix: str) -> Program:
    children = tuple(replace(child, program=_copy(child.program, suffix)) for child in program.children)
    return replace(program, program_id=program.program_id + suffix, arrival_s=None, children=children)
