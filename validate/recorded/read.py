"""Detect the format of a log, and read it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from continuum_sim.traces.errors import TraceError
from continuum_sim.validate.recorded.fields import numbered_lines, parse_object, read_bytes
from continuum_sim.validate.recorded.format import FORMATS, RecordedFormat
from continuum_sim.validate.recorded.log import RecordedLog


def read_recorded(path: str | os.PathLike[str], format: str | None = None) -> RecordedLog:
    """Read a log of a real run.

    Parameters
    ----------
    format
        One of `FORMATS`; None detects it from the file's contents.

    Raises
    ------
    TraceError
        If the file cannot be read or a value is wrong; the message names line and field.
    ConfigError
        For an unknown format, or a run with which one simulated engine cannot be compared.
    """
    path = Path(path)
    return (_detect(path) if format is None else FORMATS.find(format)).read(path)


def _detect(path: Path) -> RecordedFormat:
    data = read_bytes(path)
    lines = numbered_lines(data)
    if not lines:
        raise TraceError("is empty, expected a log of requests", path=path)
    number, line = lines[0]
    found = _columns(line) or _first_of_array(data)
    if not found:
        try:
            first = parse_object(line, path, number)
        except TraceError as error:
            first = _whole(data, path, error)
        found = set(first)
    formats = FORMATS.load().values()
    best = max(formats, key=lambda one: one.likeness(found))
    if not best.likeness(found):
        known = ", ".join(sorted(one.name for one in formats))
        raise TraceError(f"is in no known format; known: {known}", path=path, line=number)
    return best


def _columns(line: bytes) -> set[str]:
    """Return the columns that a first line names if it is that of a CSV file, else nothing."""
    if b"," not in line or line.lstrip()[:1] in (b"{", b"["):
        return set()
    return {name.strip() for name in line.decode("utf-8", "replace").split(",")}


def _first_of_array(data: bytes) -> set[str]:
    """Return the fields of the first object of an array, nothing if the file is none."""
    if data.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] != b"[":
        return set()
    try:
        values = json.loads(data)
    except (ValueError, RecursionError):
        return set()
    return set(values[0]) if values and isinstance(values[0], dict) else set()


def _whole(data: bytes, path: Path, first_line: TraceError) -> dict[str, Any]:
    """Decode a file that may be one object over many lines; if it is not, the error is its first line's."""
    try:
        return parse_object(data.removeprefix(b"\xef\xbb\xbf"), path)
    except TraceError as of_whole:
        opened = data.split(b"\n", 1)[0].strip() == b"{"
        raise (of_whole if opened else first_line) from None
