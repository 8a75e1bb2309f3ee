"""A point of the service curve: the rate of work while a given number of programs are in the system."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from continuum_sim.steady.verdict import Finite

BATCHES: Final = 10
"""Equal parts of the measured time whose rates give the interval."""
_T_BATCHES: Final = 2.2622
"""Student's t of 97.5 % with 9 degrees of freedom: `scipy.stats.t.ppf(0.975, 9)`, which is slow to import."""
_LEAST_PROGRAMS: Final = 20
"""Least number of programs that must end within the measured time."""


class Served(msgspec.Struct, frozen=True):
    """A rate with a 95 % interval, in programs' worth of work per second."""

    value: Finite
    low: Finite
    high: Finite


def served(
    finish_s: np.ndarray, workers: int, done_by: Callable[[np.ndarray], np.ndarray], tokens_per_program: float
) -> Served | None:
    """Return the rate of a closed loop, measured from the end of its `workers`-th program to its last start.

    At that end the programs, which began together, are of all ages; until the last start every worker is busy.

    Parameters
    ----------
    finish_s
        Ends of programs.
    workers
        Number of programs kept in the system.
    done_by
        Function from times in seconds to the fresh tokens done by then.
    tokens_per_program
        Mean fresh tokens per program.

    Returns
    -------
    Served or None
        None if too few programs end in between.
    """
    ends_s = np.sort(finish_s)
    first, last = workers - 1, len(ends_s) - workers - 1
    if last - first < _LEAST_PROGRAMS or not ends_s[first] < ends_s[last] or not tokens_per_program:
        return None
    return batch_rate(float(ends_s[first]), float(ends_s[last]), done_by, tokens_per_program)


def batch_rate(
    from_s: float, to_s: float, done_by: Callable[[np.ndarray], np.ndarray], tokens_per_program: float
) -> Served:
    """Return the rate of work between two times, with an interval from batch means."""
    edges_s = np.linspace(from_s, to_s, BATCHES + 1)
    rates = np.diff(done_by(edges_s)) / np.diff(edges_s) / tokens_per_program
    half = _T_BATCHES * float(rates.std(ddof=1)) / math.sqrt(BATCHES)
    value = float(rates.mean())
    return Served(value, max(0.0, value - half), value + half)
