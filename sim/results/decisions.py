"""The decision log: every decision of a policy, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from continuum_sim.engine.scheduler import LogStep


class DecisionRecord(NamedTuple):
    """One decision."""

    time_s: float
    step: int
    program: str
    turn: int
    event: str
    detail: dict[str, Any]


class _Line(msgspec.Struct):
    time: float
    step: int
    program: str
    turn: int
    event: str
    detail: dict[str, Any]


def decision_line(record: DecisionRecord) -> bytes:
    """Return the record as a line; an infinite `ttl_s` is written as null."""
    return msgspec.json.encode(_Line(*record)) + b"\n"


def keep_decisions(into: list[DecisionRecord]) -> LogStep:
    """Return a log that keeps its entries in a list."""

    def log(*entry: Any) -> None:
        into.append(DecisionRecord(*entry))

    return log


@contextmanager
def decision_file(path: Path) -> Iterator[LogStep]:
    """Open a file and give a log that writes to it as decisions are made."""
    with path.open("wb") as file:
        write = file.write

        def log(*entry: Any) -> None:
            write(decision_line(DecisionRecord(*entry)))

        yield log


def iter_decisions(path: Path) -> Iterator[DecisionRecord]:
    """Read a decision log back, a decision at a time."""
    decode = msgspec.json.Decoder(_Line).decode
    with path.open("rb") as file:
        for d in map(decode, file):
            yield DecisionRecord(d.time, d.step, d.program, d.turn, d.event, d.detail)


def read_decisions(path: Path) -> list[DecisionRecord]:
    """Read a decision log back."""
    return list(iter_decisions(path))
