"""The decision log: every decision of a policy, one JSON object a line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from continuum_sim.cluster import LogDecision
from continuum_sim.traces.files import whole_file


class DecisionRecord(NamedTuple):
    """One decision."""

    time_s: float
    step: int
    program: str
    turn: int
    event: str
    detail: dict[str, Any]
    replica: int | None = None
    """Where it was made, in a cluster."""


class _Line(msgspec.Struct):
    time: float
    step: int
    program: str
    turn: int
    event: str
    detail: dict[str, Any]
    replica: int | msgspec.UnsetType = msgspec.UNSET


def decision_line(record: DecisionRecord) -> bytes:
    """Return the record as a line; an infinite `ttl_s` is written as null."""
    replica = msgspec.UNSET if record.replica is None else record.replica
    return msgspec.json.encode(_Line(*record[:6], replica)) + b"\n"


def keep_decisions(into: list[DecisionRecord]) -> LogDecision:
    """Return a log that keeps its entries in a list."""

    def log(*entry: Any) -> None:
        into.append(DecisionRecord(*entry))

    return log


@contextmanager
def decision_file(path: Path) -> Iterator[LogDecision]:
    """Open a file and give a log that writes to it as decisions are made."""
    with whole_file(path) as file:
        write = file.write

        def log(*entry: Any) -> None:
            write(decision_line(DecisionRecord(*entry)))

        yield log


def iter_decisions(path: Path) -> Iterator[DecisionRecord]:
    """Read a decision log back, a decision at a time."""
    decode = msgspec.json.Decoder(_Line).decode
    with path.open("rb") as file:
        for line in map(decode, file):
            replica = None if line.replica is msgspec.UNSET else line.replica
            yield DecisionRecord(line.time, line.step, line.program, line.turn, line.event, line.detail, replica)


def read_decisions(path: Path) -> list[DecisionRecord]:
    """Read a decision log back."""
    return list(iter_decisions(path))
