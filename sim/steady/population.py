"""Whether a trace's programs suffice for intervals that cover other programs of the same kind."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import numpy as np

from continuum_sim.traces.schema import Program

TOO_SPREAD: Final = 0.05
"""Standard error of the mean work, relative to the mean, above which there are too few distinct programs. For queues
with known truth, 95 % intervals over drawn programs covered 96 to 99 % at 0.05 (cv 0.5, 100 programs), and 49 to 92 %
at 0.2."""
_TENTH: Final = 0.1
_HALF: Final = 0.5


def work_tokens(program: Program) -> int:
    """Return the tokens that a program and its sub-agents need computed: new prompt tokens and output."""
    return sum(turn.new_tokens + turn.output_tokens for member in program.family() for turn in member.turns)


def draw_notes(programs: Iterable[Program]) -> list[str]:
    """Return notes if intervals over runs that draw from these programs are too narrow for other programs."""
    work = np.sort([work_tokens(program) for program in programs])[::-1]
    notes = []
    number, mean = len(work), float(work.mean())
    spread = float(work.std(ddof=1)) / mean / math.sqrt(number) if number > 1 else math.inf
    # Rounded, since intervals hold for 100 programs with cv 0.5, and half of such samples are slightly above 0.05.
    if round(spread, 2) > TOO_SPREAD:
        notes.append(
            f"too few distinct programs ({number:,}): the mean work of others would differ by more than "
            f"{100 * TOO_SPREAD:.0f} %, so that intervals say too much; take a longer trace"
        )
    if work[: math.ceil(_TENTH * number)].sum() >= _HALF * work.sum() and number > 1:
        notes.append(
            "a tenth of the programs holds half of the work: intervals may cover as little as half; more distinct "
            "programs help, more seeds do not"
        )
    return notes
