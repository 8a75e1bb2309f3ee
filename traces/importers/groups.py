"""Rows of many sessions, mixed in a file, brought together without holding the file in memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any

import msgspec

from continuum_sim.traces.errors import TraceError


class Groups:
    """Rows by key, kept in a temporary database that SQLite moves to disk as it grows.

    Parameters
    ----------
    by_time
        Whether groups come back in the order of their earliest rows, rather than as first seen.
    """

    def __init__(self, *, by_time: bool = False) -> None:
        self._order = "first, id" if by_time else "id"
        self._ids: dict[str, int] = {}
        self._rows = 0
        # An empty name: private to this connection, in memory while small, deleted with it.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("CREATE TABLE names (id INTEGER PRIMARY KEY, first REAL, dropped INTEGER DEFAULT 0)")
        self._db.execute(
            "CREATE TABLE rows (id INTEGER, at REAL, n INTEGER, row BLOB, PRIMARY KEY (id, at, n)) WITHOUT ROWID"
        )
        self._db.execute("BEGIN")

    def add(self, key: str, row: Any, at: float = 0.0) -> None:
        """Add a row (of plain values) to the group of ``key``; rows come back in the order of ``at``, then as added.

        Raises
        ------
        TraceError
            If it has a number beyond 64 bits.
        """
        try:
            packed = msgspec.msgpack.encode(row)
        except OverflowError:
            raise TraceError("a number in it is too large, expected at most 2**63") from None
        number = self._id(key, at)
        self._rows += 1
        self._db.execute("INSERT INTO rows VALUES (?, ?, ?, ?)", (number, at, self._rows, packed))
        self._db.execute("UPDATE names SET first = ? WHERE id = ? AND first > ?", (at, number, at))

    def drop(self, key: str) -> None:
        """Leave out the group of ``key``, whatever is added to it before or after."""
        self._db.execute("UPDATE names SET dropped = 1 WHERE id = ?", (self._id(key, 0.0),))

    def join(self, key: str, other: str) -> None:
        """Let the rows of ``other`` be rows of ``key``, those that are still to come too; both must have some."""
        number, gone = self._ids[key], self._ids[other]
        if number == gone:
            return
        self._db.execute("UPDATE rows SET id = ? WHERE id = ?", (number, gone))
        first = self._db.execute("SELECT min(first), max(dropped) FROM names WHERE id IN (?, ?)", (number, gone))
        self._db.execute("UPDATE names SET first = ?, dropped = ? WHERE id = ?", (*first.fetchone(), number))
        self._db.execute("DELETE FROM names WHERE id = ?", (gone,))
        self._ids.update((name, number) for name, one in self._ids.items() if one == gone)

    def __iter__(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield every group that was not dropped, one in memory at a time."""
        names: dict[int, str] = {}
        for key, number in self._ids.items():
            names.setdefault(number, key)
        numbers = self._db.execute(f"SELECT id FROM names WHERE NOT dropped ORDER BY {self._order}")
        for (number,) in numbers:
            rows = self._db.execute("SELECT row FROM rows WHERE id = ? ORDER BY at, n", (number,))
            found = [msgspec.msgpack.decode(row) for (row,) in rows]
            if found:
                yield names[number], found

    def _id(self, key: str, at: float) -> int:
        number = self._ids.get(key)
        if number is None:
            number = self._ids[key] = len(self._ids) + 1
            self._db.execute("INSERT INTO names VALUES (?, ?, 0)", (number, at))
        return number
