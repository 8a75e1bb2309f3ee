"""Read the files of a zip archive, one in memory at a time."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.values import MAX_DOCUMENT_BYTES

MAGIC: Final = b"PK\x03\x04"
_ZSTD: Final = 93
"""Compression method of zstd (APPNOTE.TXT of PKWARE, 4.4.5), which ``zipfile`` reads from Python 3.14 on."""
_HEADER_BYTES: Final = 30
_MOST_RATIO: Final = {zipfile.ZIP_DEFLATED: 250, _ZSTD: 5_000}
_FREE_BYTES: Final = 32 * 2**20
"""Bytes of an archived file before its ratio is checked (see `continuum_sim.traces.lines`)."""
_ERRORS: Final = (zipfile.BadZipFile, OSError, EOFError, zlib.error, NotImplementedError, RuntimeError, ValueError)


def is_archive(path: Path) -> bool:
    """Return True if a file begins like a zip archive; False if it cannot be read."""
    try:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def archived(path: Path, most_bytes: int | None = None) -> Iterator[tuple[str, int, bytes]]:
    """Yield ``(name, stored bytes, content)`` of the JSON files in an archive, or their first ``most_bytes``.

    The last of several files with one name counts. A file that grows far beyond any ratio that text reaches is refused,
    and so is one of over 512 MiB, unless only its beginning is wanted.

    Raises
    ------
    TraceError
        If the archive cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            for info in {info.filename: info for info in archive.infolist()}.values():
                if info.filename.endswith(".json"):
                    yield info.filename, info.compress_size, _content(archive, path, info, most_bytes)
    except _ERRORS as error:
        raise TraceError(f"cannot be read as a zip archive: {error}", path=path) from None


def _content(archive: zipfile.ZipFile, path: Path, info: zipfile.ZipInfo, most_bytes: int | None) -> bytes:
    ratio = _MOST_RATIO.get(info.compress_type, 1)
    if info.file_size > max(_FREE_BYTES, ratio * info.compress_size):
        raise OSError(f"{info.filename} decompresses to over {ratio:,} times its size; unpack it first if it may")
    if most_bytes is None and info.file_size > MAX_DOCUMENT_BYTES:
        raise OSError(f"{info.filename} is over {MAX_DOCUMENT_BYTES >> 20} MiB")
    # Read no more than the archive declares.
    size = info.file_size if most_bytes is None else min(most_bytes, info.file_size)
    if info.compress_type == _ZSTD and not info.flag_bits & 1:
        data = _unzstd(_packed(path, info), size)
    else:
        with archive.open(info) as file:
            data = file.read(size)
    if len(data) < size:
        raise EOFError(f"{info.filename} ends too early")
    return data


def _packed(path: Path, info: zipfile.ZipInfo) -> bytes:
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(MAGIC):
            raise zipfile.BadZipFile(f"{info.filename} is not where the archive says")
        # The fixed part is followed by a name and extra fields; the header holds the length of each.
        skipped = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
        file.seek(skipped, io.SEEK_CUR)
        return file.read(info.compress_size)


def _unzstd(packed: bytes, size: int) -> bytes:
    import zstandard  # only such archives need it

    try:
        return zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(io.BytesIO(packed)).read(size)
    except zstandard.ZstdError as error:
        raise OSError(str(error)) from None
