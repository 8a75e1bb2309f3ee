"""Bring together the requests of chains that are interleaved throughout a file; a few numbers per request."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np

UNKNOWN: Final = float("-inf")
_COLUMNS: Final = 6
"""Whole numbers of a row; the seventh is its time."""
MOST_ROWS: Final = 50_000
"""Rows held in memory at a time, unless a single chain has more."""
READ_ROWS: Final = 10_000


class Chain(NamedTuple):
    """The requests of a chain as columns: their numbers, their places in the files, and what they say."""

    numbers: list[int]
    files: list[int]
    lines: list[int]
    input_tokens: list[int]
    output_tokens: list[int]
    at_s: list[float]
    """When each was sent, or `UNKNOWN`."""


class ChainRows:
    """Rows in a temporary file, eight bytes per number; memory holds only the number of rows of each chain.

    They come back by counting: the file is read once for every set of chains that fits into memory.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed once they have come back
        self._lengths = array("q")
        self._numbers, self._times_s = array("q"), array("d")
        self._read_rows = READ_ROWS

    def add(
        self, chain: int, number: int, file: int, line: int, input_tokens: int, output_tokens: int, at_s: float
    ) -> None:
        """Add a row; chains must be numbered in the order of their first rows."""
        if chain == len(self._lengths):
            self._lengths.append(0)
        self._lengths[chain] += 1
        self._numbers.extend((chain, number, file, line, input_tokens, output_tokens))
        self._times_s.append(at_s)
        if len(self._times_s) == self._read_rows:
            self._write()

    def _write(self) -> None:
        self._file.write(self._numbers)
        self._file.write(self._times_s)
        del self._numbers[:], self._times_s[:]

    def __iter__(self) -> Iterator[Chain]:
        """Yield every chain with its rows as they were added; nothing may be added after that."""
        import numpy as np

        self._write()
        ends = np.cumsum(np.array(self._lengths))
        low = done = 0
        with self._file:
            while low < len(ends):
                high = max(low + 1, int(np.searchsorted(ends, done + MOST_ROWS, side="right")))
                numbers, times_s = self._between(low, high)
                columns = [*(column.tolist() for column in numbers.T[1:]), times_s.tolist()]
                start = 0
                for length in self._lengths[low:high]:
                    yield Chain._make([column[start : start + length] for column in columns])
                    start += length
                low, done = high, int(ends[high - 1])

    def _between(self, low: int, high: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the rows of some chains, chain by chain: their whole numbers, and their times."""
        import numpy as np

        self._file.seek(0)
        found, found_s = [], []
        while data := self._file.read(self._read_rows * 8 * (_COLUMNS + 1)):
            rows = len(data) // (8 * (_COLUMNS + 1))
            numbers = np.frombuffer(data, "<i8", rows * _COLUMNS).reshape(rows, _COLUMNS)
            inside = (low <= numbers[:, 0]) & (numbers[:, 0] < high)
            found.append(numbers[inside])
            found_s.append(np.frombuffer(data, "<f8", rows, offset=rows * _COLUMNS * 8)[inside])
        numbers, times_s = np.concatenate(found), np.concatenate(found_s)
        order = np.argsort(numbers[:, 0], kind="stable")
        return numbers[order], times_s[order]
