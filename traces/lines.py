"""The numbered lines of a plain, gzip or zstd file, one at a time."""

from __future__ import annotations

import gzip
import io
import os
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, Final, cast

from continuum_sim.traces.errors import TraceError

# Room for some 600,000 turns; the limit only keeps a file without line breaks out of memory.
MAX_LINE_BYTES: Final = 64 * 2**20
BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
# Four bytes of zstd can stand for 128 KiB: feeding small pieces bounds how much comes out at once.
_ZSTD_CHUNK_BYTES: Final = 2**12
_PIECE_BYTES: Final = 2**20
_BUFFER_BYTES: Final = 2**17
_MOST_BLANK_LINES: Final = 1_000_000
_FREE_BYTES: Final = 32 * 2**20
"""Decompressed bytes before the ratio is checked."""
_MOST_GZIP_RATIO: Final = 250
_MOST_ZSTD_RATIO: Final = 5_000
"""Largest ratio of decompressed to stored bytes. Logs of agents that resend the whole conversation every turn reach
several hundred under zstd, whose window holds it; gzip's window of 32 KiB allows about 50."""
MOST_CONTAINERS: Final = 10_000_000
"""Most objects and arrays in one JSON value; each takes 100 bytes or more in memory, and as few as two in a file."""
_pipes: Final[set[tuple[int, int]]] = set()
"""Pipes opened so far, by device and inode."""


def read_lines(
    path: str | os.PathLike[str], on_read: Callable[[int], None] | None = None, longest_bytes: int = MAX_LINE_BYTES
) -> Iterator[tuple[int, bytes]]:
    """Yield ``(line number from 1, line)`` for every line that is not blank.

    The file's first bytes, not its name, determine the compression.

    Parameters
    ----------
    path
        The file.
    on_read
        Called with the number of stored bytes read, after each read.
    longest_bytes
        Longest allowed line.

    Raises
    ------
    TraceError
        If the file cannot be read or decompressed to its end, a line is too long, or a million in a row are blank.
    """
    number = blank = 0
    try:
        with open_decompressed(path, on_read) as stream:
            while line := stream.readline(longest_bytes + 1):
                number += 1
                if len(line) > longest_bytes:
                    detail = f"longer than {longest_bytes >> 20} MiB, expected one program (a JSON object) a line"
                    raise TraceError(detail, path=path, line=number)
                if number == 1:
                    line = line.removeprefix(BYTE_ORDER_MARK)
                if not line.isspace():
                    blank = 0
                    yield number, line
                    continue
                blank += 1
                if blank > _MOST_BLANK_LINES:
                    detail = f"over {_MOST_BLANK_LINES:,} blank lines in a row, expected one program a line"
                    raise TraceError(detail, path=path, line=number)
    except READ_ERRORS as error:
        raise unreadable(path, error, number) from error


@contextmanager
def open_decompressed(path: str | os.PathLike[str], on_read: Callable[[int], None] | None = None) -> Iterator[BinaryIO]:
    """Open a file for reading its decompressed content; opening and reading may raise any of `READ_ERRORS`.

    A pipe is refused the second time: what was read from it is gone, and the rest would be taken for the whole.
    """
    raw = _Counted(path, on_read)
    about = os.fstat(raw.fileno())
    if stat.S_ISFIFO(about.st_mode):
        if (about.st_dev, about.st_ino) in _pipes:
            raw.close()
            raise OSError("it is a pipe, and is needed more than once; write it to a file first")
        _pipes.add((about.st_dev, about.st_ino))
    with io.BufferedReader(raw, _BUFFER_BYTES) as file, _decompressed(file, raw) as stream:
        yield stream


def check_containers(data: bytes) -> None:
    """Refuse JSON with more objects and arrays than memory can be expected to hold.

    Raises
    ------
    TraceError
        Without a place, which the caller knows.
    """
    if len(data) > MOST_CONTAINERS and data.count(b"{") + data.count(b"[") > MOST_CONTAINERS:
        raise TraceError(f"over {MOST_CONTAINERS:,} objects and arrays in one JSON value, expected fewer")


def unreadable(path: str | os.PathLike[str], error: Exception, line: int = 0) -> TraceError:
    """Return the error to raise for one of `READ_ERRORS` that occurred after ``line`` lines."""
    reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    after = f" after line {line}" if line else ""
    return TraceError(f"cannot be read{after}: {reason}", path=path)


READ_ERRORS: Final = (OSError, EOFError, zlib.error)
"""What reading a broken or missing file raises, including errors of its compression."""


class _Counted(io.FileIO):
    def __init__(self, path: str | os.PathLike[str], on_read: Callable[[int], None] | None) -> None:
        super().__init__(path, "rb")
        self._on_read = on_read
        self.read_bytes = 0

    def readinto(self, buffer: Any) -> int | None:
        size = super().readinto(buffer)
        self.read_bytes += size or 0
        if self._on_read is not None:
            self._on_read(size or 0)
        return size


def _decompressed(file: io.BufferedReader[_Counted], raw: _Counted) -> BinaryIO:
    magic = file.peek(4)[:4]
    if magic.startswith(_GZIP_MAGIC):
        packed: io.RawIOBase = _Bounded(cast(io.RawIOBase, gzip.GzipFile(fileobj=file)), raw, _MOST_GZIP_RATIO)
    elif magic == _ZSTD_MAGIC:
        packed = _Bounded(_Zstd(file), raw, _MOST_ZSTD_RATIO)
    else:
        return cast(BinaryIO, file)
    return cast(BinaryIO, io.BufferedReader(packed, _BUFFER_BYTES))


class _Bounded(io.RawIOBase):
    """Decompressed data; reading fails once it grows far beyond any ratio that text of any kind reaches."""

    def __init__(self, inner: io.RawIOBase, raw: _Counted, most_ratio: int) -> None:
        self._inner, self._raw, self._most_ratio = inner, raw, most_ratio
        self._bytes = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        # Piece by piece: asked for more, the library would decompress all of it before the ratio can be checked.
        size = self._inner.readinto(memoryview(buffer)[:_PIECE_BYTES])
        self._bytes += size or 0
        if self._bytes > max(_FREE_BYTES, self._most_ratio * self._raw.read_bytes):
            raise OSError(f"it decompresses to over {self._most_ratio:,} times its size; decompress it first if it may")
        return size

    def close(self) -> None:
        self._inner.close()
        super().close()


class _Zstd(io.RawIOBase):
    """Decompressed zstd of any number of frames; unlike the library's own reader it detects a truncated end."""

    def __init__(self, file: BinaryIO) -> None:
        import zstandard  # only zstd files need it

        self._file = file
        self._error = zstandard.ZstdError
        # 2 GiB is what `zstd --long=31` writes. The library's default limit is 128 MiB.
        self._new_frame = zstandard.ZstdDecompressor(max_window_size=2**31).decompressobj
        self._frame = self._new_frame()
        self._begun = False
        self._ready, self._taken = b"", 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while self._taken == len(self._ready):
            if self._frame.eof:
                left = self._frame.unused_data
                self._frame, self._begun = self._new_frame(), bool(left)
                if left:
                    self._feed(left)
                    continue
            chunk = self._file.read(_ZSTD_CHUNK_BYTES)
            if not chunk:
                if self._begun:
                    raise EOFError("Compressed file ended before the end of its last frame")
                return 0
            self._begun = True
            self._feed(chunk)
        # Not sliced at the front: 4 KiB can decompress to 128 MiB, which would be copied for every piece.
        size = min(len(buffer), len(self._ready) - self._taken)
        buffer[:size] = self._ready[self._taken : self._taken + size]
        self._taken += size
        return size

    def _feed(self, data: bytes) -> None:
        try:
            self._ready, self._taken = self._frame.decompress(data), 0
        except self._error as error:
            raise OSError(str(error)) from None
