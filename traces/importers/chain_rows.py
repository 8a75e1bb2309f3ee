"""Bring together the requests of chains that are interleaved throughout a file; a few numbers per request."""

from __future__ import annotations

import struct
import tempfile
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import numpy as np

UNKNOWN: Final = float("-inf")
_PACKED: Final = struct.Struct("<qqqqqqd")
MOST_ROWS: Final = 50_000
"""Rows held in memory at a time, unless a single chain has more."""
READ_ROWS: Final = 10_000


class ChainRow(NamedTuple):
    """One request: its chain (numbered in the order of first rows), its own number, and its place in the files."""

    chain: int
    number: int
    file: int
    line: int
    input_tokens: int
    output_tokens: int
    at_s: float
    """When it was sent, or `UNKNOWN`."""


class ChainRows:
    """Rows in a temporary file, eight bytes per number; memory holds only the number of rows of each chain.

    They come back by counting: the file is read once for every set of chains that fits into memory.
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  closed once they have come back
        self._lengths = array("q")

    def add(
        self, chain: int, number: int, file: int, line: int, input_tokens: int, output_tokens: int, at_s: float
    ) -> None:
        """Add a row; chains must be numbered in the order of their first rows."""
        if chain == len(self._lengths):
            self._lengths.append(0)
        self._lengths[chain] += 1
        self._file.write(_PACKED.pack(chain, number, file, line, input_tokens, output_tokens, at_s))

    def __iter__(self) -> Iterator[list[ChainRow]]:
        """Yield the rows of every chain, as they were added; nothing may be added after that."""
        import numpy as np

        ends = np.cumsum(np.array(self._lengths))
        low = done = 0
        with self._file:
            while low < len(ends):
                high = max(low + 1, int(np.searchsorted(ends, done + MOST_ROWS, side="right")))
                rows = self._between(low, high)
                start = 0
                for length in self._lengths[low:high]:
                    yield list(map(ChainRow._make, rows[start : start + length].tolist()))
                    start += length
                low, done = high, int(ends[high - 1])

    def _between(self, low: int, high: int) -> np.ndarray:
        """Return the rows of some chains, chain by chain."""
        import numpy as np

        kind = np.dtype([(name, "<f8" if name == "at_s" else "<i8") for name in ChainRow._fields])
        self._file.seek(0)
        found = []
        while data := self._file.read(READ_ROWS * _PACKED.size):
            rows = np.frombuffer(data, kind)
            found.append(rows[(low <= rows["chain"]) & (rows["chain"] < high)])
        rows = np.concatenate(found)
        return rows[np.argsort(rows["chain"], kind="stable")]
