"""A point of the service curve: how fast work gets done while a number of programs are in the system."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from continuum_sim.steady.verdict import Finite

BATCHES: Final = 10
"""Equal parts of the time looked at, whose rates the interval comes from."""
_T_BATCHES: Final = 2.2622
"""Student's t of 97.5 % with 9 degrees of freedom: `scipy.stats.t.ppf(0.975, 9)`, which takes long to import."""
_LEAST_PROGRAMS: Final = 20
"""That end within it."""


class Served(msgspec.Struct, frozen=True):
    """A rate with a 95 % interval, in programs' worth of work per second."""

    value: Finite
    low: Finite
    high: Finite


def served(
    finish_s: np.ndarray, workers: int, done_by: Callable[[np.ndarray], np.ndarray], tokens_per_program: float
) -> Served | None:
    """Return the rate of a closed loop, from the end of as many programs as it has places to its last start.

    By then the programs that began together are of all ages, and until then every place is taken.

    Parameters
    ----------
    finish_s
        Ends of programs.
    workers
        Places.
    done_by
        Gives, for times in seconds, the tokens of fresh work that are done by then.
    tokens_per_program
        Mean fresh work.

    Returns
    -------
    Served or None
        None where too few programs end in between.
    """
    ends_s = np.sort(finish_s)
    first, last = workers - 1, len(ends_s) - workers - 1
    if last - first < _LEAST_PROGRAMS or not ends_s[first] < ends_s[last] or not tokens_per_program:
        return None
    return batch_rate(float(ends_s[first]), float(ends_s[last]), done_by, tokens_per_program)


def batch_rate(
    from_s: float, to_s: float, done_by: Callable[[np.ndarray], np.ndarray], tokens_per_program: float
) -> Served:
    """Return the rate at which work was done between two times, and an interval from batch means."""
    edges_s = np.linspace(from_s, to_s, BATCHES + 1)
    rates = np.diff(done_by(edges_s)) / np.diff(edges_s) / tokens_per_program
    half = _T_BATCHES * float(rates.std(ddof=1)) / math.sqrt(BATCHES)
    value = float(rates.mean())
    return Served(value, max(0.0, value - half), value + half)
