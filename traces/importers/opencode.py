"""opencode sessions: exported (``opencode export``), as stored, or as ``opencode run --format json`` writes them.

Source: github.com/anomalyco/opencode, ``packages/opencode/src/session/message-v2.ts`` (messages and their parts) and
``session.ts`` (``getUsage``, ``Session.Info``). An export is one document of ``info`` and ``messages`` (each ``info``
and ``parts``); storage has one file per session, message and part (``~/.local/share/opencode/storage``); a run writes
parts, one per line:

* a part ``step-finish`` ends a response and has its ``tokens``: ``input`` excludes what a cache supplied or stored
  (``cache.read``, ``cache.write``). Whether ``output`` includes ``reasoning`` depends on the version;
  ``total`` shows it. If a message has no such part, its own ``tokens`` are those of its only response;
* a part ``tool`` has ``state.time.start`` and ``end``. The answer ended when the last of its tools began; without
  tools, when the message was ``completed``. The next one is requested when its message was ``created``;
* ``task`` runs a sub-agent, a session of its own with a ``parentID``, named in ``state.metadata.sessionId``;
* a message with ``summary`` (or of agent ``compaction``) wrote the summary of a compaction;
* a fork repeats messages under other ids, but with their times: a response counts once.

Newer versions keep a database; its sessions are read as exports.
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
from continuum_sim.traces.importers.fields import as_object, as_time, optional_object
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, each_row_as
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.usage import Usage
from continuum_sim.traces.importers.values import reader
from continuum_sim.traces.schema import Program


class _Time(msgspec.Struct):
    created: Any = None
    completed: Any = None
    start: Any = None
    end: Any = None


class _State(msgspec.Struct):
    time: _Time | None = None
    metadata: Any = None


class _Info(msgspec.Struct):
    """A session, a message, or a part: the needed fields of all three."""

    id: Any = None
    sessionID: Any = None
    messageID: Any = None
    parentID: Any = None
    role: Any = None
    type: Any = None
    time: _Time | None = None
    tokens: Any = None
    tool: Any = None
    state: _State | None = None
    summary: msgspec.Raw = msgspec.Raw()
    agent: msgspec.Raw = msgspec.Raw()
    mode: Any = None


class _Message(msgspec.Struct):
    info: _Info | None = None
    parts: list[_Info] = []


class _Row(_Info):
    """A line or a document: an export, an event of a run, or a single session, message or part."""

    info: _Info | None = None
    messages: list[_Message] | None = None
    part: _Info | None = None
    timestamp: Any = None


class _Step(msgspec.Struct, array_like=True):
    """What is kept of a message or part; times in seconds."""

    kind: str
    """``session``, ``user``, ``assistant``, ``start``, ``finish``, ``tool`` or ``compaction``."""
    id: str = ""
    message: str = ""
    began: float | None = None
    ended: float | None = None
    usage: Usage | None = None
    name: str = ""
    """Name of a tool, or parent of a session."""
    agent: str = ""
    summary: bool = False


_row = reader(_Row)
_decode = msgspec.msgpack.Decoder(_Step).decode


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    sessions = Groups()
    path = Path()
    for source, number, row in each_row_as(sources, state, _row):
        path = source.path
        key = ""
        try:
            for key, step in _steps(row):
                sessions.add(key, msgspec.msgpack.encode(step))
        except TraceError as error:
            if key:
                sessions.drop(key)
            state.bad(error, path, number)
    conversations = Conversations()
    for key, packed in sessions:
        found = _conversation(key, [_decode(one) for one in packed])
        if found.responses:
            conversations.add(found)
        else:
            state.note("sessions without a response that has token counts, left out")
    yield from conversations.programs(state, path)


def _steps(row: _Row) -> Iterator[tuple[str, _Step]]:
    """Yield the contents of a line or a document, each with its session."""
    if row.messages is not None:
        info = row.info or _Info()
        key = info.id if isinstance(info.id, str) else ""
        yield from _step(info, key)
        for message in row.messages:
            for one in (message.info or _Info(), *message.parts):
                yield from _step(one, key)
    elif row.part is not None:
        at = row.timestamp
        if row.part.time is None and at is not None:
            row.part.time = _Time(start=at, end=at)
        yield from _step(row.part, "")
    else:
        yield from _step(row, "")


def _step(info: _Info, session: str) -> Iterator[tuple[str, _Step]]:
    key = info.sessionID if isinstance(info.sessionID, str) else session
    name = info.id if isinstance(info.id, str) else ""
    time = info.time or _Time()
    if info.role in ("user", "assistant"):
        summary = bytes(info.summary) == b"true" or bytes(info.agent) == b'"compaction"' or info.mode == "compaction"
        usage = _usage(info.tokens) if info.role == "assistant" else None
        step = _Step(info.role, name, name, _at(time.created), _at(time.completed), usage, summary=summary)
    elif info.type is None and name and not isinstance(info.messageID, str):
        key, step = name, _Step("session", name, name=info.parentID if isinstance(info.parentID, str) else "")
    elif info.type in ("tool", "step-start", "step-finish", "compaction"):
        state = info.state or _State()
        spent = state.time or time
        agent = optional_object(state.metadata).get("sessionId", optional_object(state.metadata).get("sessionID"))
        step = _Step(
            str(info.type).removeprefix("step-"),
            name,
            info.messageID if isinstance(info.messageID, str) else "",
            _at(spent.start),
            _at(spent.end),
            _usage(info.tokens) if info.type == "step-finish" else None,
            info.tool if isinstance(info.tool, str) else "",
            agent if isinstance(agent, str) else "",
        )
    else:
        return
    if key:
        yield key, step


def _at(value: Any) -> float | None:
    return None if value is None else as_time(value, "time", 1e3)


def _usage(value: Any) -> Usage | None:
    """Return the counts of a response; None for a failed one, which has only zeros."""
    if value is None:
        return None
    tokens = as_object(value, "tokens")
    cache = optional_object(tokens.get("cache"))
    if not (tokens.get("input") or cache.get("read") or cache.get("write")):
        return None
    return settled_usage(
        tokens.get("input") or 0,
        tokens.get("output") or 0,
        read=cache.get("read"),
        made=cache.get("write"),
        reasoning=tokens.get("reasoning"),
        total=tokens.get("total"),
        cache_apart=True,
        place="tokens",
    )


def _conversation(key: str, steps: list[_Step]) -> Conversation:
    """Assemble a session from its messages, ordered by time, and the parts of each in their own order."""
    found = Conversation(key, next((one.name for one in steps if one.kind == "session"), ""))
    messages = {one.id: one for one in steps if one.kind in ("user", "assistant")}
    parts: dict[str, list[_Step]] = {}
    for one in steps:
        if one.kind in ("start", "finish", "tool", "compaction"):
            parts.setdefault(one.message, []).append(one)
    for name in parts:  # a run's parts, which come without their messages
        messages.setdefault(name, _Step("assistant", name, name))
    order = {name: index for index, name in enumerate(messages)}
    compacted = False
    for message in sorted(messages.values(), key=lambda one: (one.began or 0.0, order[one.id])):
        if message.kind == "user":
            if any(one.kind == "compaction" for one in parts.get(message.id, [])):
                continue  # requested by the client
            found.start = message.began if found.start is None else found.start
            if found.responses and message.began is not None:
                found.responses[-1].human = message.began
            continue
        made = _responses(message, parts.get(message.id, []))
        for response in made:
            response.compacted, compacted = compacted, False
        compacted = message.summary and bool(made)
        found.responses += made
        if found.start is None and made:
            found.start = made[0].sent if made[0].sent is not None else made[0].answered
    return found


def _responses(message: _Step, parts: list[_Step]) -> list[Response]:
    """Return the responses of a message: one per step, or one for all of it."""
    finished = [one for one in parts if one.usage is not None]
    found: list[Response] = []
    tools: list[_Step] = []
    sent, began = message.began, None
    for one in parts:
        if one.kind == "start":
            began = one.began
        elif one.kind == "tool":
            tools.append(one)
        elif one.usage is not None:
            last = one is finished[-1]
            over = message.ended if message.ended is not None and last else one.ended
            key = one.id if message.began is None else f"{message.began}-{len(found)}"
            found.append(_response(key, one.usage, sent if sent is not None else began, over, tools))
            sent, tools = max((tool.ended for tool in tools if tool.ended is not None), default=None), []
    if not finished and message.usage is not None:
        key = message.id if message.began is None else f"{message.began}-0"
        found.append(_response(key, message.usage, message.began, message.ended, tools))
    return found


def _response(name: str, usage: Usage, sent: float | None, over: float | None, tools: list[_Step]) -> Response:
    began = [tool.began for tool in tools if tool.began is not None]
    return Response(
        f"{name}-{usage.input_tokens}-{usage.output_tokens}",
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        sent=sent,
        answered=max(began) if began else over,
        names=[tool.name for tool in tools if tool.name],
        ended=[tool.ended for tool in tools if tool.ended is not None],
        agents=[tool.agent for tool in tools if tool.agent],
    )


def _sniff(head: Head) -> float:
    if head.has("info", "messages") and {"sessionID", "parts"} & head.names:
        return 1.0
    if head.has("info") and {"projectID", "directory"} <= head.names:  # whose summary fills the beginning
        return 0.9
    if head.has("sessionID"):
        return 0.9 if head.top & {"role", "messageID", "part"} else 0.5
    return 0.9 if head.has("id", "projectID", "directory") else 0.0


OPENCODE = Importer(
    name="opencode",
    title="opencode sessions",
    source="github.com/anomalyco/opencode: packages/opencode/src/session/message-v2.ts",
    patterns=("*.json", "*.jsonl"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: tokens of every step, cached part and reasoning included",
        "tool_s: from the start of a response's last tool, or its end, to the next request (human pauses included)",
        "tool: names of the tools, several joined by +, and human where a user's message came",
        "arrival_s: a session's first message, from the earliest on",
    ),
    derived=(
        "kept_tokens: from prompt lengths; after a summary or a shorter prompt, cache.read",
        "children: from the task that names a sub-agent's session to the next response",
    ),
    missing=("shared_prefix",),
)
