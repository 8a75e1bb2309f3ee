"""The numbered lines of a trace file, plain, gzip or zstd, one at a time."""

from __future__ import annotations

import gzip
import io
import os
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, cast

from continuum_sim.traces.errors import TraceError

# Room for some 600,000 turns: it only keeps a file that has no lines at all out of memory.
MAX_LINE_BYTES: Final = 64 * 2**20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"


def read_lines(path: str | os.PathLike[str]) -> Iterator[tuple[int, bytes]]:
    """Yield ``(line number from 1, line)`` for every line that is not blank.

    The compression is told by the file's first bytes, not by its name.

    Raises
    ------
    TraceError
        If the file cannot be read or decompressed to its end, or has a line over 64 MiB.
    """
    number = 0
    try:
        with open(path, "rb") as file, _decompressed(file) as stream:
            while line := stream.readline(MAX_LINE_BYTES + 1):
                number += 1
                if len(line) > MAX_LINE_BYTES:
                    detail = "longer than 64 MiB, expected one program (a JSON object) a line"
                    raise TraceError(detail, path=path, line=number)
                if number == 1:
                    line = line.removeprefix(_BYTE_ORDER_MARK)
                if not line.isspace():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        after = f" after line {number}" if number else ""
        raise TraceError(f"cannot be read{after}: {reason}", path=path) from error


def _decompressed(file: io.BufferedReader) -> BinaryIO:
    magic = file.peek(4)[:4]
    if magic.startswith(_GZIP_MAGIC):
        return cast(BinaryIO, gzip.GzipFile(fileobj=file))
    if magic == _ZSTD_MAGIC:
        return io.BufferedReader(_zstd(file))
    return file


def _zstd(file: BinaryIO) -> Any:
    # Imported here: a tenth of a second that only zstd traces need. pyarrow is a dependency anyway.
    import pyarrow as pa

    return pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd")
