"""Bring together the rows of many sessions mixed in a file, without holding the file in memory."""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterator
from itertools import groupby
from typing import Any, Final

import msgspec

from continuum_sim.traces.errors import TraceError

_BATCH_ROWS: Final = 500
_BATCH_BYTES: Final = 2**20


class Groups:
    """Rows by key, kept in a temporary database that SQLite moves to disk as it grows.

    Rows are appended as they come and sorted once at the end: inserting each in its place would make SQLite seek
    back and forth on the disk.

    Parameters
    ----------
    kind
        Type of the rows that come back; plain values by default.
    by_time
        True to yield groups in the order of their earliest rows, False in the order in which they were first seen.
    """

    def __init__(self, kind: Any = Any, *, by_time: bool = False) -> None:
        self._by_time = by_time
        self._read = msgspec.msgpack.Decoder(kind).decode
        self._ids: dict[str, int] = {}
        self._first = array("d")
        self._dropped: set[int] = set()
        self._moved: dict[int, int] = {}
        self._batch: list[tuple[int, float, bytes]] = []
        self._batch_bytes = 0
        # An empty name: private to this connection, in memory while small, deleted with it.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.execute("PRAGMA synchronous = OFF")
        self._db.execute("PRAGMA journal_mode = OFF")
        self._db.execute("CREATE TABLE rows (n INTEGER PRIMARY KEY, id INTEGER, at REAL, row BLOB)")
        self._db.execute("BEGIN")

    def add(self, key: str, row: Any, at: float = 0.0) -> None:
        """Add a row to the group of ``key``; rows come back in the order of ``at``, then as added.

        Raises
        ------
        TraceError
            If it holds a number beyond 64 bits.
        """
        try:
            packed = msgspec.msgpack.encode(row)
        except OverflowError:
            raise TraceError("a number in it is too large, expected at most 2**63") from None
        number = self._id(key, at)
        if at < self._first[number]:
            self._first[number] = at
        self._batch.append((number, at, packed))
        self._batch_bytes += len(packed)
        if len(self._batch) == _BATCH_ROWS or self._batch_bytes > _BATCH_BYTES:
            self._write()

    def drop(self, key: str) -> None:
        """Leave out the group of ``key``, including rows added later."""
        self._dropped.add(self._id(key, 0.0))

    def join(self, key: str, other: str) -> None:
        """Make the rows of ``other`` rows of ``key``, including later ones; both must have some."""
        number, gone = self._ids[key], self._ids[other]
        if number == gone:
            return
        self._moved[gone] = number
        self._first[number] = min(self._first[number], self._first[gone])
        if gone in self._dropped:
            self._dropped.add(number)
        self._ids.update((name, number) for name, one in self._ids.items() if one == gone)

    def __len__(self) -> int:
        """The number of groups, those dropped or joined to others included."""
        return len(self._ids)

    def __iter__(self) -> Iterator[tuple[str, list[Any]]]:
        """Yield every group that was not dropped, one in memory at a time; nothing may be added after that."""
        self._write()
        self._move()
        keys = list(self._ids)
        self._ids = {}
        query = "SELECT id, row FROM rows ORDER BY id, at, n"
        if self._by_time:
            order = sorted(range(len(keys)), key=self._first.__getitem__)
            self._db.execute("CREATE TABLE ranks (id INTEGER PRIMARY KEY, rank INTEGER)")
            self._db.executemany("INSERT INTO ranks VALUES (?, ?)", ((id, rank) for rank, id in enumerate(order)))
            query = "SELECT rows.id, row FROM rows JOIN ranks ON ranks.id = rows.id ORDER BY rank, at, n"
        for number, rows in groupby(self._db.execute(query), key=lambda row: row[0]):
            if number not in self._dropped:
                yield keys[number], [self._read(row) for _, row in rows]

    def _move(self) -> None:
        """Renumber the rows of groups that were joined to another one."""
        if not self._moved:
            return
        self._db.execute("CREATE TABLE moved (id INTEGER PRIMARY KEY, number INTEGER)")
        for gone, number in self._moved.items():
            while number in self._moved:
                number = self._moved[number]
            self._db.execute("INSERT INTO moved VALUES (?, ?)", (gone, number))
        now = "SELECT number FROM moved WHERE moved.id = rows.id"
        self._db.execute(f"UPDATE rows SET id = ({now}) WHERE id IN (SELECT id FROM moved)")

    def _write(self) -> None:
        self._db.executemany("INSERT INTO rows (id, at, row) VALUES (?, ?, ?)", self._batch)
        self._batch.clear()
        self._batch_bytes = 0

    def _id(self, key: str, at: float) -> int:
        number = self._ids.get(key)
        if number is None:
            number = self._ids[key] = len(self._ids)
            self._first.append(at)
        return number
