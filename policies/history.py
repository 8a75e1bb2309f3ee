"""What was learnt from all programs together: tool durations, waits of unpinned turns, lengths of finished programs."""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from continuum_sim.policies.instants import EARLY_S

WAIT_WINDOW = 100
"""Turns over which T̄ is averaged: "recent" in Continuum (arXiv 2511.02230, section on the TTL model)."""

_DIGITS = 3
"""Durations are stored with this many significant digits, rounded up. That leaves at most 900 distinct ones per decade,
however many calls there were, so a policy that weighs them all takes no longer after a million turns than after a
thousand; and a pin of exactly a stored length still covers the call from which it was learnt."""
_SHORTEST_S = 1e-6
"""Durations below this are not distinguished."""
_PLACES = 6
"""Most decimal places of a second that are stored."""
_DECADES_S = tuple(10.0**k for k in range(_DIGITS - _PLACES, 31))
"""Above each of these, one decimal place fewer is stored, eventually only tens, hundreds, …"""
_GRAINS = tuple((10.0 ** max(n, 0), 10.0 ** max(-n, 0)) for n in range(_PLACES, _PLACES - len(_DECADES_S) - 1, -1))
"""Rounding unit of the durations up to each of these: (units per second, seconds per unit), one of which is 1."""
_FEW = 16
"""Below this many new durations, inserting them one by one is quicker than merging them all at once."""
_MOST_WAITING = 512
"""Recorded durations that may wait to be sorted in."""
_SLACK_S = EARLY_S
"""Durations less than this above a stored value count as that value: sums of step times differ in their last bits."""


def kept_s(duration_s: float) -> float:
    """Round a duration up to the value it is stored as: `_DIGITS` significant digits, no finer than microseconds."""
    a_second, long_s = _GRAINS[bisect_right(_DECADES_S, duration_s)]
    return math.ceil((duration_s - _SLACK_S) * a_second / long_s) / a_second * long_s


class Durations:
    """Multiset of observed durations in seconds, kept sorted for quantile-like questions."""

    def __init__(self) -> None:
        # Arrays with spare room: a turn of a large simulation shifts their tails instead of allocating new arrays.
        self._room_s: npt.NDArray[np.float64] = np.empty(64)
        self._room_counts: npt.NDArray[np.float64] = np.empty(64)
        self._sorted_s: list[float] = []
        """The values in `_room_s` as a list, which is quicker to bisect."""
        self._total = 0
        self._sum_log = 0.0
        self._sum_log2 = 0.0
        self._unsorted: list[float] = []
        """Durations not in the arrays yet: most policies never ask for them, and sorting many at once is cheap."""
        self._unlogged: list[float] = []
        """Durations whose logarithms are not summed up yet."""

    def __len__(self) -> int:
        return self._total

    def add(self, duration_s: float) -> None:
        """Record one duration (seconds, not negative)."""
        self._total += 1
        self._unsorted.append(duration_s)
        self._unlogged.append(duration_s)
        if self._total % _MOST_WAITING == 0:
            self._sort_in()
            self._take_logarithms()

    def _take_logarithms(self) -> None:
        # Rounded to microseconds, or a variance near zero would depend on the last bits of sums of step times.
        whole_s = np.ceil((np.array(self._unlogged) - _SLACK_S) * 1e6) / 1e6
        logs = np.log(np.maximum(whole_s, _SHORTEST_S))
        self._sum_log += float(logs.sum())
        self._sum_log2 += float(logs @ logs)
        self._unlogged.clear()

    def _sort_in(self) -> None:
        """Bring the arrays up to date with all recorded durations."""
        if len(self._unsorted) < _FEW:
            for duration_s in self._unsorted:
                self._sort_in_one(kept_s(duration_s))
        else:
            self._merge([kept_s(duration_s) for duration_s in self._unsorted])
        self._unsorted.clear()

    def _merge(self, values_s: Sequence[float]) -> None:
        distinct = len(self._sorted_s)
        counts = np.diff(self._room_counts[:distinct], prepend=0)
        merged_s, at = np.unique(np.concatenate([self._room_s[:distinct], values_s]), return_inverse=True)
        weights = np.concatenate([counts, np.ones(len(values_s))])
        self._sorted_s = merged_s.tolist()
        self._room_s = merged_s
        self._room_counts = np.cumsum(np.bincount(at, weights))

    def _sort_in_one(self, value_s: float) -> None:
        size = len(self._sorted_s)
        at = bisect_left(self._sorted_s, value_s)
        if at == size or self._sorted_s[at] != value_s:
            self._insert(at, value_s)
        else:
            counts = self._room_counts[at:size]
            counts += 1

    def _insert(self, at: int, value_s: float) -> None:
        size = len(self._sorted_s)
        if size == len(self._room_s):
            self._room_s = np.concatenate([self._room_s, np.empty(size)])
            self._room_counts = np.concatenate([self._room_counts, np.empty(size)])
        values_s, counts = self._room_s, self._room_counts
        values_s[at + 1 : size + 1] = values_s[at:size]
        values_s[at] = value_s
        counts[at + 1 : size + 1] = counts[at:size] + 1
        counts[at] = counts[at - 1] + 1 if at else 1
        self._sorted_s.insert(at, value_s)

    @property
    def values_s(self) -> npt.NDArray[np.float64]:
        """Distinct durations, ascending, shape (k,)."""
        if self._unsorted:
            self._sort_in()
        return self._room_s[: len(self._sorted_s)]

    @property
    def cumulative(self) -> npt.NDArray[np.float64]:
        """Number of durations that are at most values_s[i], for every i, shape (k,)."""
        if self._unsorted:
            self._sort_in()
        return self._room_counts[: len(self._sorted_s)]

    @property
    def shares(self) -> npt.NDArray[np.float64]:
        """P(duration ≤ values_s[i]) for every i, shape (k,)."""
        return self.cumulative / max(self._total, 1)

    def mean_s(self) -> float:
        """Return the mean duration in seconds; 0 if nothing was recorded."""
        if not self._total:
            return 0.0
        counts = np.diff(self.cumulative, prepend=0)
        return float(self.values_s @ counts) / self._total

    def lognormal(self) -> tuple[float, float]:
        """Return μ and σ of the maximum-likelihood log-normal: mean and deviation of the recorded logarithms.

        Needs at least one record; durations under a microsecond count as a microsecond.
        """
        self._take_logarithms()
        mean = self._sum_log / self._total
        return mean, math.sqrt(max(0.0, self._sum_log2 / self._total - mean * mean))

    def quantile_s(self, share: float) -> float:
        """Return the smallest recorded duration that at least `share` of the records do not exceed, or 0."""
        if not self._total:
            return 0.0
        at = int(np.searchsorted(self.cumulative, share * self._total - 1e-9))
        return float(self.values_s[min(at, len(self._sorted_s) - 1)])


class TurnCounts:
    """Lengths of finished programs, for η = −Corr(k, N − k) (Continuum's "memoryfulness").

    Every finished program of N turns adds the points (k, N − k) for k = 1 … N: turns done and turns left at
    the end of each turn. If N is always the same, they lie on one falling line and η = 1: the more turns are
    done, the fewer are left. Memoryless lengths give η near 0: turns done say nothing about turns left.
    """

    def __init__(self) -> None:
        self._points = 0
        self._sum_done = 0.0
        self._sum_left = 0.0
        self._sum_done2 = 0.0
        self._sum_left2 = 0.0
        self._sum_cross = 0.0
        self._lengths: set[int] = set()
        self._eta: float | None = None
        """The last answer; None if it is out of date."""

    def add(self, turns: int) -> None:
        """Record a finished program of this many turns (at least 1)."""
        self._eta = None
        n = turns
        done = n * (n + 1) / 2
        done2 = n * (n + 1) * (2 * n + 1) / 6
        left = n * n - done
        self._points += n
        self._sum_done += done
        self._sum_left += left
        self._sum_done2 += done2
        self._sum_left2 += n**3 - 2 * n * done + done2
        self._sum_cross += n * done - done2
        if len(self._lengths) < 2:
            self._lengths.add(n)

    def eta(self) -> float:
        """Return η in [0, 1]; 1 until programs of two distinct lengths have finished."""
        if self._eta is None:
            self._eta = self._find_eta()
        return self._eta

    def _find_eta(self) -> float:
        if len(self._lengths) < 2:
            return 1.0
        n = self._points
        cross = self._sum_cross / n - self._sum_done / n * self._sum_left / n
        var_done = self._sum_done2 / n - (self._sum_done / n) ** 2
        var_left = self._sum_left2 / n - (self._sum_left / n) ** 2
        if var_done <= 0 or var_left <= 0:
            return 1.0
        return min(1.0, max(0.0, -cross / math.sqrt(var_done * var_left)))


class History:
    """What one engine has learnt, by tool across programs, never per program.

    Engines of one cluster share what they learn about tools and programs, which do not depend on the engine; how long
    turns wait is recorded for each engine alone.

    Parameters
    ----------
    sibling
        History of another engine of the same cluster, to share with.
    """

    def __init__(self, sibling: History | None = None) -> None:
        self.all_tools: Durations = Durations() if sibling is None else sibling.all_tools
        self.by_tool: dict[str, Durations] = {} if sibling is None else sibling.by_tool
        self.turn_counts: TurnCounts = TurnCounts() if sibling is None else sibling.turn_counts
        self._waits_s: deque[float] = deque(maxlen=WAIT_WINDOW)
        self._mean_wait_s: float | None = 0.0
        """The last answer; None if it is out of date."""

    def tool_returned(self, tool: str | None, duration_s: float) -> None:
        """Record a gap: from the end of one turn to the arrival of the next, as the server sees it."""
        self.all_tools.add(duration_s)
        if tool is None:
            return
        own = self.by_tool.get(tool)
        if own is None:
            own = self.by_tool[tool] = Durations()
        own.add(duration_s)

    def of_tool(self, tool: str | None) -> Durations:
        """Return the durations of one tool; empty for a tool never seen."""
        return self.by_tool.get(tool, _NONE) if tool is not None else _NONE

    def unpinned_turn_waited(self, wait_s: float) -> None:
        """Record how long a turn waited in the queue that came back to a context without a pin."""
        self._waits_s.append(wait_s)
        self._mean_wait_s = None

    def mean_wait_s(self) -> float:
        """Return T̄, the mean queueing delay of recent turns that came back unpinned; 0 before the first."""
        if self._mean_wait_s is None:
            self._mean_wait_s = sum(self._waits_s) / len(self._waits_s)
        return self._mean_wait_s


_NONE = Durations()
