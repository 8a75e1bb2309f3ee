"""Requests that a log records with their times, grouped by session in the order of their starts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.calls import Call, make_program
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program, SharedPrefix

_UNKNOWN: Final = float("-inf")


class Request(msgspec.Struct, array_like=True, gc=False, kw_only=True):
    """One request.

    Attributes
    ----------
    start_s, end_s
        When it was sent, and when all of its answer had arrived; None if unknown.
    input_tokens, output_tokens, kept_tokens, cached_tokens, output_dropped, tool, mean_acceptance_length
        As in `Call`.
    prefix
        Id and tokens of a prefix shared with other sessions.
    """

    start_s: float | None
    end_s: float | None
    input_tokens: int
    output_tokens: int
    kept_tokens: int | None = None
    cached_tokens: int = 0
    output_dropped: bool = False
    tool: str = "client"
    prefix: tuple[str, int] | None = None
    mean_acceptance_length: float | None = None


class TimedRequests:
    """Requests by session; a session becomes a program that arrives with its first request.

    Parameters
    ----------
    session
        State of the import.
    what
        Word for a session in errors.
    """

    def __init__(self, state: ImportState, what: str = "session") -> None:
        self._state = state
        self._what = what
        self._groups = Groups(by_time=True)

    def add(self, key: str, request: Request, path: Path, line: int) -> None:
        """Add a request to the session named ``key``.

        Raises
        ------
        TraceError
            If it holds a number beyond 64 bits.
        """
        start_s = _UNKNOWN if request.start_s is None else request.start_s
        self._groups.add(key, [str(path), line, msgspec.msgpack.encode(request)], start_s)

    def drop(self, key: str) -> None:
        """Leave out a session, which would be a different one with a request missing."""
        self._groups.drop(key)

    def programs(self) -> Iterator[Program]:
        """Yield the programs in the order of their first requests, once all requests are added."""
        session = self._state
        decoder = msgspec.msgpack.Decoder(Request)
        zero_s: float | None = None
        for key, rows in self._groups:
            requests = [decoder.decode(row[2]) for row in rows]
            first = requests[0]
            zero_s = first.start_s if zero_s is None else zero_s
            arrival_s = None if first.start_s is None or zero_s is None else first.start_s - zero_s
            prefix = None if first.prefix is None else SharedPrefix(*first.prefix)
            try:
                calls = list(self._calls(requests))
                yield make_program(session.unique(key), calls, session, arrival_s=arrival_s, shared_prefix=prefix)
            except TraceError as error:
                where: list[Any] = rows[0]
                session.bad(TraceError(f"{self._what} {key}: {error.detail}", line=where[1]), Path(where[0]))

    def _calls(self, requests: list[Request]) -> Iterator[Call]:
        for index, one in enumerate(requests):
            gap_s: float | None = 0.0
            if index + 1 < len(requests):
                gap_s = self._gap(one, requests[index + 1])
            yield Call(
                one.input_tokens,
                one.output_tokens,
                kept_tokens=one.kept_tokens if index else None,
                cached_tokens=one.cached_tokens,
                output_dropped=one.output_dropped,
                tool=one.tool or "client",
                tool_s=gap_s,
                mean_acceptance_length=one.mean_acceptance_length,
            )

    def _gap(self, one: Request, following: Request) -> float | None:
        if following.start_s is None or (one.start_s is None and one.end_s is None):
            self._state.note("calls without times, gap taken as 0 s")
            return None
        if one.end_s is not None:
            return following.start_s - one.end_s
        assert one.start_s is not None
        self._state.note("gaps between starts, the time for the request itself included (no end_time)")
        return following.start_s - one.start_s
