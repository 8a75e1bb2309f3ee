"""The optional first line of a trace file: where its numbers come from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from continuum_sim.traces.errors import TraceError, nearest, shown

HEADER_KEY: Final = "continuum_trace"
HEADER_VERSION: Final = 1


@dataclass(frozen=True)
class TraceHeader:
    """What made a trace, and how far each of its numbers can be trusted.

    Attributes
    ----------
    format
        The format it was imported from, or what generated it.
    measured
        What the source recorded.
    derived
        What was computed from the recorded values, and how.
    missing
        What the source lacks, and what replaces it.
    notes
        What was adjusted during the import, and how often.
    files
        Number of files read.
    skipped
        Bad records left out (``--skip-bad``).
    tokenizer
        Name of the tokenizer, if tokens were counted from text.
    """

    format: str
    measured: tuple[str, ...] = ()
    derived: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)
    files: int = 0
    skipped: int = 0
    tokenizer: str | None = None


def encode_header(header: TraceHeader) -> bytes:
    """Return the header's line."""
    record = {HEADER_KEY: HEADER_VERSION, **asdict(header)}
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def is_header(line: bytes) -> bool:
    """Return True if a line is meant as a header rather than a program."""
    return line.lstrip()[:40].replace(b" ", b"").startswith(f'{{"{HEADER_KEY}":'.encode())


def decode_header(line: bytes) -> TraceHeader:
    """Decode a header's line.

    Raises
    ------
    TraceError
        Without a place, which the caller knows: bad JSON, another version, an unknown field, or a wrong type.
    """
    try:
        record = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise TraceError(f"the header is not valid JSON, expected an object that begins with {HEADER_KEY}") from None
    if not isinstance(record, dict):
        raise TraceError(f"the header is {shown(record)}, expected an object")
    version = record.pop(HEADER_KEY, None)
    if version != HEADER_VERSION:
        raise TraceError(f"{HEADER_KEY} is {shown(version)}, expected {HEADER_VERSION} (made by a newer version?)")
    known = [item.name for item in fields(TraceHeader)]
    for name in record:
        if name not in known:
            guess = nearest(name, known) or ","
            raise TraceError(
                f"{shown(name)[1:-1]} is an unknown field of the header{guess} expected {', '.join(known)}"
            )
    return _checked(record)


def _checked(record: dict[str, Any]) -> TraceHeader:
    for name in ("measured", "derived", "missing"):
        value = record.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise TraceError(f"{name} is {shown(value)}, expected an array of strings")
        record[name] = tuple(value)
    if not isinstance(record.get("format"), str):
        raise TraceError(f"format is {shown(record.get('format'))}, expected a string")
    if not isinstance(record.get("tokenizer"), str | None):
        raise TraceError(f"tokenizer is {shown(record['tokenizer'])}, expected a string or null")
    notes = record.get("notes", {})
    if not isinstance(notes, dict) or not all(type(number) is int for number in notes.values()):
        raise TraceError(f"notes is {shown(notes)}, expected an object of whole numbers")
    for name in ("files", "skipped"):
        value = record.get(name, 0)
        if type(value) is not int or value < 0:
            raise TraceError(f"{name} is {shown(value)}, expected a whole number from 0")
    return TraceHeader(**record)
