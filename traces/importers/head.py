"""The beginning of a file, from which its format is detected."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from continuum_sim.traces.importers.archives import archived, is_archive
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.lines import READ_ERRORS, open_decompressed, unreadable

_HEAD_BYTES: Final = 2**16
_FIRST_LINE_BYTES: Final = 2**22
_STRING_OR_MARK: Final = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?|[{}\[\]]|\n')


@dataclass(frozen=True, slots=True)
class Head:
    """The first 64 KiB of a file, decompressed; some MiB of it if the first line is longer.

    Attributes
    ----------
    text
        Its text; bytes that are not UTF-8 are replaced.
    top
        Field names of the outermost objects, of one JSON value or of one per line.
    names
        Field names at any depth.
    columns
        Column names, if the first line may be the header of a CSV file.
    """

    text: str
    top: frozenset[str]
    names: frozenset[str]
    columns: frozenset[str] = frozenset()

    def has(self, *names: str) -> bool:
        """Return True if all of these are fields of an outermost object."""
        return self.top.issuperset(names)


def read_head(source: Source) -> Head:
    """Read the beginning of a file; for a zip archive, that of the first JSON file in it.

    Raises
    ------
    TraceError
        If it cannot be read.
    """
    if is_archive(source.path):
        return head_of(next((data for _, _, data in archived(source.path, _HEAD_BYTES)), b""))
    try:
        with open_decompressed(source.path) as stream:
            data = stream.read(_HEAD_BYTES)
            if b"\n" not in data:  # the first record is larger, and what identifies it may be at its end
                data += stream.readline(_FIRST_LINE_BYTES)
    except READ_ERRORS as error:
        raise unreadable(source.path, error) from error
    return head_of(data)


def head_of(data: bytes) -> Head:
    """Parse the first bytes of a file."""
    text = data.decode("utf-8-sig", "replace")
    first = text.lstrip().partition("\n")[0].strip()
    top: set[str] = set()
    names: set[str] = set()
    if text.lstrip()[:1] in ("{", "["):
        depth = -1 if text.lstrip()[0] == "[" else 0
        for found in _STRING_OR_MARK.finditer(text):
            mark = found.group()
            if mark in ("{", "["):
                depth += 1
            elif mark in ("}", "]"):
                depth -= 1
            elif found.group(2):
                names.add(found.group(1))
                if depth <= 1:
                    top.add(found.group(1))
    columns = frozenset() if top or "," not in first else frozenset(cell.strip(' "') for cell in first.split(","))
    return Head(text, frozenset(top), frozenset(names), columns)
