"""The backlog over time: work that has arrived and is not done."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import ArrayLike

_BINS: Final = 2**16
"""Number of bins, however long a run is: 1 MB, and still hundreds per part if the load lasts a hundredth of the run."""
_FALL_PARTS: Final = 80


class Backlog:
    """W(t), the fresh tokens that have arrived by t less those that are done, in bounded memory.

    Fresh tokens are those computed for the first time: computed less recomputed tokens. A program's work is known only
    when it has run, so it is entered then, at the time of its arrival. Times are kept to the precision of a bin, which
    grows with the run, but the sum of the times in each bin is exact.

    Parameters
    ----------
    bin_s
        Initial width of a bin in seconds; doubled as often as the run needs.
    """

    def __init__(self, bin_s: float = 0.01) -> None:
        self._bin_s = bin_s
        self._tokens = np.zeros(_BINS)
        """Work that arrived within each bin, less work done."""
        self._moments = np.zeros(_BINS)
        """The same, weighted with its time."""
        self._done = np.zeros(_BINS)
        """Work that was done within each bin."""

    def arrived(self, times_s: ArrayLike, tokens: ArrayLike) -> None:
        """Enter work that arrived at these times, in any order."""
        self._add(np.asarray(times_s, float), np.asarray(tokens, float))

    def done(self, times_s: ArrayLike, tokens: ArrayLike) -> None:
        """Enter work that was done at these times, in any order."""
        times_s, tokens = np.asarray(times_s, float), np.asarray(tokens, float)
        self._add(times_s, -tokens)
        np.add.at(self._done, self._bins(times_s), tokens)

    def means(self, end_s: float, parts: int, start_s: float = 0.0) -> np.ndarray:
        """Return the mean of W over each of equal parts of [start_s, end_s], in tokens."""
        edges_s = self._bin_s * np.arange(_BINS + 1)
        tokens = np.concatenate(([0.0], np.cumsum(self._tokens)))
        moments = np.concatenate(([0.0], np.cumsum(self._moments)))
        # ∫ W from 0 to T is the sum, over all work that came before T, of its tokens times how long it was there.
        integral = np.interp(np.linspace(start_s, end_s, parts + 1), edges_s, edges_s * tokens - moments)
        means: np.ndarray = np.diff(integral) * (parts / (end_s - start_s))
        return means

    def done_by(self, times_s: ArrayLike) -> np.ndarray:
        """Return the work done by these times, in tokens."""
        edges_s = self._bin_s * np.arange(_BINS + 1)
        done = np.concatenate(([0.0], np.cumsum(self._done)))
        return np.asarray(np.interp(np.asarray(times_s, float), edges_s, done))

    def low_s(self, after_s: float, end_s: float) -> float:
        """Return when W is lowest in the first half of the time from a burst to the end, to 1/80 of that time.

        From there on the fall after the burst does not affect a verdict, whose limits are for paths that start at their
        lowest point. If W is not down by then, the remaining half shows whether it falls.
        """
        place = int(np.argmin(self.means(end_s, _FALL_PARTS, after_s)[: _FALL_PARTS // 2]))
        return after_s + place * (end_s - after_s) / _FALL_PARTS

    def _add(self, times_s: np.ndarray, tokens: np.ndarray) -> None:
        if not len(times_s):
            return
        while times_s.max() >= self._bin_s * _BINS:
            self._double()
        bins = self._bins(times_s)
        np.add.at(self._tokens, bins, tokens)
        np.add.at(self._moments, bins, tokens * times_s)

    def _bins(self, times_s: np.ndarray) -> np.ndarray:
        return (times_s / self._bin_s).astype(np.int64)

    def _double(self) -> None:
        for kept in (self._tokens, self._moments, self._done):
            kept[: _BINS // 2] = kept[::2] + kept[1::2]
            kept[_BINS // 2 :] = 0
        self._bin_s *= 2
