"""The files of an import: found in folders, read as JSON, with a count of the bytes read."""

from __future__ import annotations

import fnmatch
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.values import (
    ANYTHING,
    MAX_DOCUMENT_BYTES,
    decode,
    decode_if,
    decode_lines,
    split_items,
    split_values,
)
from continuum_sim.traces.lines import read_lines
from continuum_sim.traces.schema import Program

_COMPRESSED: Final = (".gz", ".zst")
_BATCH_BYTES: Final = 2**15
"""Lines decoded at once: enough that a call costs nothing, and few enough that what they hold does not either."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Source:
    """One file.

    Attributes
    ----------
    path
        The file's path.
    named
        True if the user named the file itself, rather than its folder.
    on_read
        Called with the number of stored bytes read.
    stem
        The file's name without storage suffixes: ``a`` for ``a.traj.json.gz``.
    """

    path: Path
    named: bool = True
    on_read: Callable[[int], None] | None = None
    stem: str = field(init=False)

    def __post_init__(self) -> None:
        name = self.path.name
        for suffix in (*_COMPRESSED, ".json", ".jsonl", ".traj", ".csv"):
            name = name.removesuffix(suffix) or name
        object.__setattr__(self, "stem", name)  # needed for every row

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Yield the lines with their numbers."""
        return read_lines(self.path, self.on_read, MAX_DOCUMENT_BYTES)


class Stems:
    """Distinct names for files: the second ``a.jsonl`` is ``a#2``."""

    def __init__(self) -> None:
        self._of: dict[Path, str] = {}
        self._taken: set[str] = set()
        self._row, self._on_line = "", 0

    def of(self, source: Source) -> str:
        """Return the name of a file, the same every time."""
        name = self._of.get(source.path)
        if name is None:
            name, number = source.stem, 1
            while name in self._taken:
                number += 1
                name = f"{source.stem}#{number}"
            self._of[source.path] = name
            self._taken.add(name)
        return name

    def row(self, source: Source, number: int) -> str:
        """Return a name for a file's next row, from its line number; an array may have many rows on one line."""
        before, self._row = self._row, f"{self.of(source)}-{number}"
        self._on_line = self._on_line + 1 if self._row == before else 1
        return self._row if self._on_line == 1 else f"{self._row}.{self._on_line}"


def each_document(
    sources: Iterable[Source],
    state: ImportState,
    convert: Callable[[T, Source], Iterable[Program]],
    read: Callable[[bytes | msgspec.Raw], T] = decode,
) -> Iterator[Program]:
    """Yield the programs of files that hold one JSON value, or several in sequence."""
    for source in sources:
        for number, value in _values(source, state):
            try:
                programs = list(convert(read(value), source))
            except TraceError as error:
                state.bad(error, source.path, number if number > 1 else None)
                continue
            yield from programs


def each_row(
    sources: Iterable[Source], state: ImportState, typed: msgspec.json.Decoder[Any] | None = None
) -> Iterator[tuple[Source, int, Any]]:
    """Yield ``(file, line number, JSON value)`` of files with many JSON values: by line, in sequence, or in an array.

    With ``typed``, values are decoded by it, which costs a fraction if most of a value is skipped; one that does not
    match its type is returned as plain JSON.
    """
    if typed is None:
        return each_row_as(sources, state, decode, ANYTHING)
    return each_row_as(sources, state, partial(decode_if, typed), typed)


def each_row_as(
    sources: Iterable[Source],
    state: ImportState,
    read: Callable[[bytes | msgspec.Raw], T],
    usual: msgspec.json.Decoder[T] | None = None,
) -> Iterator[tuple[Source, int, T]]:
    """Yield the same, with each value converted by ``read`` (see `reader`).

    ``usual`` decodes what ``read`` would return for nearly every value, many lines at a time.
    """
    return _each(each_item, sources, state, read, usual)


def each_item(source: Source, state: ImportState) -> Iterator[tuple[int, bytes | msgspec.Raw]]:
    """Yield ``(line number, JSON)`` of the undecoded values in one file: one per line, or in an array."""
    for first, value in _values(source, state):
        if type(value) is bytes and value[:1] == b"{":  # nearly always: nothing to split
            yield first, value
        else:
            yield from split_items(value, first)


def each_value(sources: Iterable[Source], state: ImportState) -> Iterator[tuple[Source, int, Any]]:
    """Yield ``(file, line number, JSON value)`` of files of JSON values; an array counts as one value."""
    return _each(_values, sources, state, decode)


def _each(
    values: Callable[[Source, ImportState], Iterator[tuple[int, bytes | msgspec.Raw]]],
    sources: Iterable[Source],
    state: ImportState,
    read: Callable[[bytes | msgspec.Raw], T],
    usual: msgspec.json.Decoder[T] | None = None,
) -> Iterator[tuple[Source, int, T]]:
    for source in sources:
        found = values(source, state)
        for items in ([item] for item in found) if usual is None else _batches(found):
            decoded = None if usual is None else decode_lines([data for _, data in items], usual)
            if decoded is not None:
                for (number, _), value in zip(items, decoded, strict=True):
                    yield source, number, value
                continue
            for number, data in items:
                try:
                    value = read(data)
                except TraceError as error:
                    state.bad(error, source.path, number)
                    continue
                yield source, number, value


def _batches(items: Iterator[tuple[int, bytes | msgspec.Raw]]) -> Iterator[list[tuple[int, bytes | msgspec.Raw]]]:
    """Yield the values of a file, short lines by the dozen; those before an error come before it."""
    batch: list[tuple[int, bytes | msgspec.Raw]] = []
    left_bytes = _BATCH_BYTES
    failed: TraceError | None = None
    try:
        for item in items:
            size = len(item[1]) if type(item[1]) is bytes else _BATCH_BYTES
            if size >= left_bytes:
                if batch:
                    yield batch
                batch, left_bytes = [], _BATCH_BYTES
                if size >= _BATCH_BYTES:
                    yield [item]
                    continue
            batch.append(item)
            left_bytes -= size
    except TraceError as error:
        failed = error
    if batch:
        yield batch
    if failed is not None:
        raise failed


def _values(source: Source, state: ImportState) -> Iterator[tuple[int, bytes | msgspec.Raw]]:
    """Yield the values of one file; after invalid JSON over several lines, the rest of the file is one bad record."""
    try:
        yield from split_values(source.lines())
    except TraceError as error:
        if error.path is not None:  # the file cannot be read, which is not a bad record
            raise
        state.bad(error, source.path)


def each_program(
    sources: Iterable[Source], state: ImportState, convert: Callable[[Any, ImportState], Program | None]
) -> Iterator[Program]:
    """Yield the programs of files with one per line; ``convert`` returns None for a line to skip."""
    for source, number, value in each_row(sources, state):
        try:
            program = convert(value, state)
        except TraceError as error:
            state.bad(error, source.path, number)
            continue
        if program is not None:
            yield program


def find_sources(paths: Iterable[str | os.PathLike[str]], patterns: Iterable[str]) -> list[Source]:
    """Return the files named, and those in named folders whose names match one of ``patterns``, compressed or not.

    Raises
    ------
    TraceError
        If a file does not exist, or no name in a folder matches.
    """
    wanted = [pattern + suffix for pattern in patterns for suffix in ("", *_COMPRESSED)]
    sources: list[Source] = []
    for path in map(Path, paths):
        if not path.is_dir():
            if not path.exists():
                raise TraceError("no such file", path=path)
            sources.append(Source(path))
            continue
        inside = sorted(file for file in path.rglob("*") if _matches(file.name, wanted) and file.is_file())
        if not inside:
            raise TraceError(f"no file in it matches {', '.join(patterns)}", path=path)
        sources += [Source(file, named=False) for file in inside]
    if not sources:
        raise TraceError("no file named, expected at least one")
    return sources


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return not name.startswith(".") and any(fnmatch.fnmatch(name, pattern) for pattern in patterns)
