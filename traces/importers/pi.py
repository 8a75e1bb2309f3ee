"""Sessions of the coding agent pi: one per file (``~/.pi/agent/sessions/*/*.jsonl``), one entry per line.

Source: github.com/badlogic/pi-mono, ``packages/coding-agent/docs/session.md``, ``packages/ai/src/types.ts`` and the
session in ``packages/coding-agent/test/fixtures``. An entry ``message`` of role ``assistant`` with ``usage`` is a
response: ``message.timestamp`` is when it was requested, the entry's own ``timestamp`` when it arrived. ``input``
excludes what a cache supplied or stored (``cacheRead``, ``cacheWrite``; ``totalTokens`` shows it). Tools answer in
messages of role ``toolResult``; ``bashExecution`` is a person's own command. Entries point to the one before
(``parentId``): if a person went back, both branches were served. ``compaction`` is an entry. A session that continues
another one (``branchedFrom``, ``parentSession``) repeats its entries unchanged: a response counts once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.apart import settled_usage
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.conversations import Conversation, Conversations, Response
from continuum_sim.traces.importers.fields import as_time
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, each_row_as
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.usage import Usage
from continuum_sim.traces.importers.values import reader
from continuum_sim.traces.schema import Program


class _Usage(msgspec.Struct):
    input: Any = None
    output: Any = None
    cacheRead: Any = None
    cacheWrite: Any = None
    totalTokens: Any = None


class _Block(msgspec.Struct):
    type: Any = None
    name: Any = None


class _Message(msgspec.Struct):
    role: Any = None
    timestamp: Any = None
    usage: _Usage | None = None
    content: msgspec.Raw = msgspec.Raw()


class _Entry(msgspec.Struct):
    type: Any = None
    id: Any = None
    parentId: Any = None
    timestamp: Any = None
    message: _Message | None = None


_entry, _blocks = reader(_Entry), reader(list[_Block])


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    conversations = Conversations()
    path = Path()
    for source in sources:
        path, skipped, log = source.path, state.skipped, _Log(source.stem)
        for _, number, entry in each_row_as([source], state, _entry):
            try:
                log.take(entry)
            except TraceError as error:
                state.bad(error, path, number)
                break
        if state.skipped > skipped:
            state.note("sessions with a bad record, left out")
        elif not log.found.responses:
            state.bad(TraceError("no response with token counts in it, expected at least one"), path)
        else:
            conversations.add(log.found)
    yield from conversations.programs(state, path)


class _Log:
    """The conversation in one file, as far as it is read."""

    def __init__(self, name: str) -> None:
        self.found = Conversation(name)
        self._compacted = False
        self._at: dict[str, int] = {}
        """Entry to the last response on the path up to it, -1 before the first."""
        self._from: list[int] = []

    def take(self, entry: _Entry) -> None:
        """Process the next entry.

        Raises
        ------
        TraceError
            Without a place, if a value has the wrong type.
        """
        responses = self.found.responses
        above = len(responses) - 1
        if isinstance(entry.parentId, str):
            above = self._at.get(entry.parentId, above)
        at = None if entry.timestamp is None else as_time(entry.timestamp, "timestamp")
        message = entry.message
        if entry.type == "session" and isinstance(entry.id, str) and entry.id:
            self.found.name = entry.id
        elif entry.type == "compaction":
            self._compacted = True
        elif message is not None and message.role == "assistant":
            usage = _usage(message.usage)
            if usage is not None:
                self._answer(message, usage, at, above)
                above = len(responses) - 1
        elif message is not None and message.role == "toolResult":
            if responses and at is not None:
                responses[-1].ended.append(at)
        elif message is not None and message.role in ("user", "bashExecution") and at is not None:
            self.found.start = at if self.found.start is None else self.found.start
            if responses:
                responses[-1].human = at
        if isinstance(entry.id, str):
            self._at[entry.id] = above

    def _answer(self, message: _Message, usage: Usage, at: float | None, above: int) -> None:
        responses = self.found.responses
        sent = None if message.timestamp is None else as_time(message.timestamp, "message.timestamp", 1e3)
        response = Response(
            f"{message.timestamp}-{at}-{usage.input_tokens}-{usage.output_tokens}",
            usage.input_tokens,
            usage.output_tokens,
            usage.cached_tokens,
            sent=sent,
            answered=at if at is not None else sent,
            compacted=self._compacted,
        )
        if above != len(responses) - 1:
            before = self._ways(len(responses) - 1)
            common = next((index for index in self._ways(above) if index in before), -1)
            response.after = responses[common].id if common >= 0 else ""
        response.names = _names(message.content)
        self._compacted = False
        self._from.append(above)
        responses.append(response)
        if self.found.start is None:
            self.found.start = sent if sent is not None else at

    def _ways(self, index: int) -> list[int]:
        """Return a response and those it continues, latest first."""
        found = []
        while index >= 0:
            found.append(index)
            index = self._from[index]
        return found


def _names(content: msgspec.Raw) -> list[str]:
    """Return the tools that an answer calls; none if it is plain text."""
    if bytes(memoryview(content)[:1]) != b"[":
        return []
    return [one.name for one in _blocks(content) if one.type == "toolCall" and isinstance(one.name, str)]


def _usage(value: _Usage | None) -> Usage | None:
    """Return the counts of a response; None for a failed one, which has none or only zeros."""
    if value is None or not (value.input or value.cacheRead or value.cacheWrite):
        return None
    return settled_usage(
        value.input or 0,
        value.output or 0,
        read=value.cacheRead,
        made=value.cacheWrite,
        total=value.totalTokens,
        cache_apart=True,
        place="message.usage",
    )


def _sniff(head: Head) -> float:
    if not head.has("type", "timestamp") or head.has("sessionId") or not {"message", "cwd"} & head.top:
        return 0.0
    return 1.0 if {"cacheRead", "totalTokens"} & head.names or '"type":"session"' in head.text.replace(" ", "") else 0.0


PI = Importer(
    name="pi",
    title="pi coding agent sessions",
    source="github.com/badlogic/pi-mono: packages/coding-agent/docs/session.md, packages/ai/src/types.ts",
    patterns=("*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: usage of every response, cached part included",
        "tool_s: from the end of a response to the next request (human pauses included)",
        "tool: names of the tools, several joined by +, and human where a person spoke or ran a command",
        "arrival_s: a session's first message, from the earliest on",
    ),
    derived=(
        "kept_tokens: from prompt lengths; after a compaction or a shorter prompt, cacheRead; after going back to an "
        "earlier entry, what both branches have in common",
    ),
    missing=("shared_prefix", "sub-agents: sessions of their own, which nothing ties to a turn"),
)
