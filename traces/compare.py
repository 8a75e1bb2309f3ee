"""Compare two traces: how far apart their distributions are."""

from __future__ import annotations

import math
from array import array
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.schema import Program

_LEAST_CALLS: Final = 20
_GAP: Final = "gap, s"
_NAMES: Final = (
    "turns a program",
    "first prompt, tokens",
    "final context, tokens",
    "tokens a program, summed",
    "prompt share kept, a program",
    "new prompt tokens a turn",
    "output tokens a turn",
    _GAP,
)
_KS_5_PERCENT: Final = 1.358


@dataclass(frozen=True, slots=True)
class Side:
    """One quantity of one trace: the number of values, their mean and quantiles in the quantity's unit."""

    count: int
    mean: float
    p10: float
    p50: float
    p90: float
    p99: float


@dataclass(frozen=True, slots=True)
class Compared:
    """One quantity of two traces.

    Attributes
    ----------
    name
        Its name with the unit.
    a, b
        The two traces.
    ks
        Largest distance between the two distribution functions (Kolmogorov-Smirnov's D, from 0 to 1).
    by_chance
        D that two samples of these sizes from one distribution exceed in 5 % of cases, if their values are independent
        (1.358 √((n + m) / (n m))). The turns of one program are not, so D exceeds this more often for them.
    """

    name: str
    a: Side
    b: Side
    ks: float
    by_chance: float


def compare_traces(a: Iterable[Program], b: Iterable[Program]) -> tuple[Compared, ...]:
    """Compare turns, sizes, reuse and gaps, then the gaps of each tool that both traces call at least 20 times.

    Sub-agents count as programs of their own. New prompt tokens exclude first turns, whose prompts are all new.
    Keeps eight bytes per number.

    Raises
    ------
    TraceError
        If one of them is empty.
    """
    ours, theirs = _gather(a), _gather(b)
    for sample in (ours, theirs):
        if not sample[_NAMES[0]]:
            raise TraceError("no program to compare, expected at least one in each trace")
    tools = [name for name in ours if name not in _NAMES and min(len(ours[name]), len(theirs[name])) >= _LEAST_CALLS]
    tools.sort(key=lambda name: (-len(ours[name]), name))
    names = [name for name in _NAMES if ours[name] and theirs[name]]
    return tuple(_compared(name, ours[name], theirs[name]) for name in (*names, *tools))


def ks_distance(a: ArrayLike, b: ArrayLike) -> float:
    """Return Kolmogorov-Smirnov's D of two samples; neither may be empty."""
    ours, theirs = np.sort(np.asarray(a)), np.sort(np.asarray(b))
    values = np.concatenate([ours, theirs])
    shares = [np.searchsorted(side, values, side="right") / len(side) for side in (ours, theirs)]
    return float(np.abs(shares[0] - shares[1]).max())


def _gather(programs: Iterable[Program]) -> defaultdict[str, array[float]]:
    sample: defaultdict[str, array[float]] = defaultdict(lambda: array("d"))
    for program in programs:
        for member in program.family():
            turns = member.turns
            prompts = sum(turn.input_tokens for turn in turns)
            values = (
                len(turns),
                turns[0].input_tokens,
                turns[-1].context_tokens,
                member.total_tokens,
                sum(turn.kept_tokens for turn in turns) / prompts,
            )
            for name, value in zip(_NAMES, values, strict=False):
                sample[name].append(value)
            sample[_NAMES[5]].extend(turn.new_tokens for turn in turns[1:])
            sample[_NAMES[6]].extend(turn.output_tokens for turn in turns)
            for turn in turns[:-1]:
                sample[_GAP].append(turn.tool_s)
                sample[f"{_GAP}: {turn.tool}"].append(turn.tool_s)
    return sample


def _compared(name: str, a: array[float], b: array[float]) -> Compared:
    by_chance = _KS_5_PERCENT * math.sqrt((len(a) + len(b)) / (len(a) * len(b)))
    return Compared(name, _side(a), _side(b), ks_distance(a, b), by_chance)


def _side(values: array[float]) -> Side:
    sample = np.asarray(values)
    p10, p50, p90, p99 = np.quantile(sample, [0.1, 0.5, 0.9, 0.99]).tolist()
    return Side(len(sample), float(sample.mean()), p10, p50, p90, p99)
