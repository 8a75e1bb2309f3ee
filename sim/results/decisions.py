"""The decision log: every decision of a policy, one JSON object per line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec

from continuum_sim.errors import ConfigError
from continuum_sim.readers import read_lines
from continuum_sim.traces.files import whole_file
from continuum_sim.world.cluster import LogLine


class DecisionRecord(NamedTuple):
    """One decision."""

    time_s: float
    step: int
    program: str
    turn: int
    event: str
    detail: dict[str, Any]
    replica: int | None = None
    """Replica of the decision; None without a cluster."""


_LARGEST: Final = 10**15
_Seconds = Annotated[float, msgspec.Meta(ge=-_LARGEST, le=_LARGEST)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=_LARGEST)]


class _Line(msgspec.Struct):
    time: _Seconds
    step: _Count
    program: str
    turn: _Count
    event: str
    detail: dict[str, Any]
    replica: _Count | msgspec.UnsetType = msgspec.UNSET


def decision_line(record: DecisionRecord) -> bytes:
    """Return the record as a line; an infinite `ttl_s` is written as null."""
    replica = msgspec.UNSET if record.replica is None else record.replica
    return msgspec.json.encode(_Line(*record[:6], replica)) + b"\n"


def keep_decisions(into: list[DecisionRecord]) -> LogLine:
    """Return a log that keeps its entries in a list."""

    def log(*entry: Any) -> None:
        into.append(DecisionRecord(*entry))

    return log


@contextmanager
def decision_file(path: Path) -> Iterator[LogLine]:
    """Open a file and yield a log that writes decisions to it as they are made."""
    with whole_file(path) as file:
        write = file.write

        def log(*entry: Any) -> None:
            write(decision_line(DecisionRecord(*entry)))

        yield log


def iter_decisions(path: Path) -> Iterator[DecisionRecord]:
    """Read a decision log, one decision at a time.

    Raises
    ------
    ConfigError
        Naming the file, the line and what was expected.
    """
    decode = msgspec.json.Decoder(_Line).decode
    for number, text in read_lines(path, "one decision"):
        try:
            line = decode(text)
            wrong = _wrong_detail(line)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            wrong = str(error)
        if wrong:
            raise ConfigError(f"{path}:{number}: is not a decision of this version ({wrong})")
        replica = None if line.replica is msgspec.UNSET else line.replica
        yield DecisionRecord(line.time, line.step, line.program, line.turn, line.event, line.detail, replica)


def _wrong_detail(line: _Line) -> str:
    """Return what is wrong with the details that are read back from pins and admissions; empty if nothing."""
    if line.event == "pin":
        ttl_s = line.detail.get("ttl_s")
        number = isinstance(ttl_s, int | float) and not isinstance(ttl_s, bool)
        return "" if ttl_s is None or (number and 0 <= ttl_s <= _LARGEST) else "ttl_s is not a number of seconds"
    if line.event == "admit":
        cached = line.detail.get("cached_tokens")
        return "" if type(cached) is int and 0 <= cached <= _LARGEST else "cached_tokens is not a count"
    return ""


def read_decisions(path: Path) -> list[DecisionRecord]:
    """Read a whole decision log."""
    return list(iter_decisions(path))
