"""Rows of CSV files whose first line names the columns."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.fields import refuse
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.importers.state import ImportState


def each_csv_row(
    sources: Iterable[Source], state: ImportState, columns: Iterable[str]
) -> Iterator[tuple[Source, int, dict[str, str]]]:
    """Yield ``(file, line number, value by column)``; a file that lacks one of ``columns`` is bad as a whole."""
    for source in sources:
        lines = source.lines()
        first, line = next(lines, (1, b""))
        try:
            names = _cells(line)
            for column in columns:
                if column not in names:
                    raise TraceError(f"the first line has no column {column!r}, expected {', '.join(columns)}")
        except TraceError as error:
            state.bad(error, source.path, first)
            continue
        for number, line in lines:
            try:
                cells = _cells(line)
                if len(cells) != len(names):
                    raise TraceError(f"{len(cells)} values in the line, expected {len(names)}")
            except TraceError as error:
                state.bad(error, source.path, number)
                continue
            yield source, number, dict(zip(names, cells, strict=True))


def csv_number(row: dict[str, str], column: str) -> float:
    """Return the number in a column, as an integer if it is whole.

    Raises
    ------
    TraceError
        If it is not a number.
    """
    text = row[column]
    try:
        number = float(text)
    except ValueError:
        refuse(column, text, "a number")
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 20 else number


def _cells(line: bytes) -> list[str]:
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise TraceError("not UTF-8, expected CSV in it") from None
    try:
        return [cell.strip() for cell in next(csv.reader([text]), [])]
    except csv.Error as error:
        raise TraceError(f"not CSV ({error})") from None
