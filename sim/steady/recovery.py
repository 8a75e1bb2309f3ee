"""Whether, and how soon, a service recovers from a burst: its JCTs compared with those of a run without the burst."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

WINDOW_PROGRAMS: Final = 50
"""Arrivals per window whose mean JCTs are compared: fewer would vary more than the burst's effect."""
MOST_RATIO: Final = 1.1
"""Ratio of the mean JCT with the burst to that without up to which a window counts as recovered."""


@dataclass(frozen=True, slots=True)
class Recovery:
    """Recovery of the programs that arrived after a burst."""

    ratios: tuple[float, ...]
    """Mean JCT with the burst divided by that without, window by window."""
    programs_looked_at: int
    """Arrivals after the burst; 0 means that nothing is known."""
    programs: int | None
    """Arrivals until the service had recovered; None if it had not."""
    seconds: float | None
    """Time from the burst to the first arrival of the window from which on all windows are recovered."""

    @property
    def recovered(self) -> bool:
        """Whether the service recovered."""
        return self.programs is not None


def recovery(arrival_s: ArrayLike, jct_s: ArrayLike, base_jct_s: ArrayLike, after_s: float) -> Recovery:
    """Compare the programs of one load, without the burst's own programs, with and without the burst.

    Parameters
    ----------
    arrival_s
        When each program arrived, in order, in seconds.
    jct_s, base_jct_s
        Their JCTs with the burst and without it, in the same order.
    after_s
        When the burst came; programs that arrived then or later are compared.
    """
    arrival_s, with_s, without_s = (np.asarray(values, float) for values in (arrival_s, jct_s, base_jct_s))
    first = int(np.searchsorted(arrival_s, after_s))
    times_s, with_s, without_s = arrival_s[first:], with_s[first:], without_s[first:]
    looked_at = len(times_s)
    # A short last window is merged into the one before it.
    starts = np.arange(max(1, looked_at // WINDOW_PROGRAMS)) * WINDOW_PROGRAMS
    if not looked_at:
        return Recovery((), 0, None, None)
    sums = np.add.reduceat(with_s, starts), np.add.reduceat(without_s, starts)
    ratios = np.divide(*sums, out=np.ones(len(starts)), where=sums[1] > 0)
    lost = np.flatnonzero(ratios > MOST_RATIO)
    window = int(lost[-1]) + 1 if len(lost) else 0
    if window == len(starts):
        return Recovery(tuple(ratios.tolist()), looked_at, None, None)
    place = int(starts[window])
    seconds = float(times_s[place]) - after_s if window else 0.0
    return Recovery(tuple(ratios.tolist()), looked_at, place, seconds)
