"""Read the records of Gemini CLI and Qwen Code, and assemble their conversations."""

from __future__ import annotations

from typing import Any

import msgspec

from continuum_sim.traces.importers.apart import settled_usage
from continuum_sim.traces.importers.conversations import Conversation, Response
from continuum_sim.traces.importers.fields import as_count, as_time
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.importers.usage import Usage
from continuum_sim.traces.importers.values import reader


class _Tool(msgspec.Struct):
    name: Any = None
    timestamp: Any = None
    agentId: Any = None


class _Tokens(msgspec.Struct):
    input: Any = None
    output: Any = None
    cached: Any = None
    thoughts: Any = None
    tool: Any = None
    total: Any = None


class _Metadata(msgspec.Struct):
    promptTokenCount: Any = None
    candidatesTokenCount: Any = None
    cachedContentTokenCount: Any = None
    thoughtsTokenCount: Any = None
    totalTokenCount: Any = None


class _FunctionCall(msgspec.Struct):
    name: Any = None


class _Part(msgspec.Struct):
    functionCall: _FunctionCall | None = None


class _Content(msgspec.Struct):
    parts: list[_Part] | None = None


class Record(msgspec.Struct):
    """A record of either tool; the fields present show which one."""

    id: Any = None
    uuid: Any = None
    timestamp: Any = None
    type: Any = None
    subtype: Any = None
    sessionId: Any = None
    kind: Any = None
    startTime: Any = None
    tokens: _Tokens | None = None
    toolCalls: list[_Tool] | None = None
    messages: list[Record] | None = None
    changes: Record | None = msgspec.field(default=None, name="$set")
    back_to: Any = msgspec.field(default=None, name="$rewindTo")
    usageMetadata: _Metadata | None = None
    message: _Content | None = None
    forkedFrom: Any = None
    isSidechain: Any = None
    agentId: Any = None


read_record = reader(Record)


class Log:
    """The conversations in one file: its own, and in Qwen Code's files those of sub-agents."""

    def __init__(self, source: Source) -> None:
        self._name, self._folder = source.stem, source.path.parent.name
        self._agents: dict[str, Conversation] = {}
        self._places: dict[str, tuple[Conversation, int]] = {}
        self._compacted = False
        self._sub_agent = False
        self._back: str | None = None

    def found(self) -> list[Conversation]:
        """Return the conversations with responses, each with its parent."""
        for agent, one in self._agents.items():
            if agent:
                one.name, one.parent = agent, self._name
            else:
                one.name, one.parent = self._name, self._folder if self._sub_agent else ""
        return [one for one in self._agents.values() if one.responses]

    def take(self, record: Record) -> None:
        """Process the next record.

        Raises
        ------
        TraceError
            Without a place, if a value has the wrong type.
        """
        if isinstance(record.sessionId, str) and record.sessionId:
            self._name = record.sessionId
        self._sub_agent |= record.kind == "subagent"
        for message in record.messages or []:
            self.take(message)
        if record.changes is not None:
            self.take(record.changes)
        key = record.id if isinstance(record.id, str) else record.uuid if isinstance(record.uuid, str) else ""
        at = None if record.timestamp is None else as_time(record.timestamp, "timestamp")
        sub_agent = record.isSidechain is True and isinstance(record.agentId, str)
        one = self._agents.setdefault(record.agentId if sub_agent else "", Conversation(""))
        if isinstance(record.back_to, str):
            self._go_back(one, record.back_to)
        elif record.type in ("gemini", "assistant") and key:
            self._answer(one, key, at, record)
        elif record.type == "user" and record.subtype is None:
            self._places.setdefault(key, (one, len(one.responses)))
            self._human(one, at, record)
        elif record.type == "tool_result" and at is not None and one.responses:
            one.responses[-1].ended.append(at)
        elif record.type == "system" and record.subtype == "chat_compression":
            self._compacted = True

    def _human(self, one: Conversation, at: float | None, record: Record) -> None:
        if one.start is None:
            one.start = at
        elif one.responses and at is not None:
            one.responses[-1].human = max(at, one.responses[-1].human or at)

    def _answer(self, one: Conversation, key: str, at: float | None, record: Record) -> None:
        """Process a response, or what has been added to it."""
        usage = _usage(record)
        place = self._places.get(key)
        response = place[0].responses[place[1]] if place and place[1] < len(place[0].responses) else None
        if response is None or response.id != key:
            if usage is None:
                self._tools(one.responses[-1] if one.responses else None, record)
                return
            response = Response(key, answered=at, copied=record.forkedFrom is not None, compacted=self._compacted)
            response.after, self._back = self._back, None
            self._compacted = False
            self._places[key] = (one, len(one.responses))
            one.responses.append(response)
            one.start = at if one.start is None else one.start
        if usage is not None:
            response.prompt, response.output, response.cached, thoughts = usage
            response.dropped = thoughts > 0
        self._tools(response, record)

    def _go_back(self, one: Conversation, key: str) -> None:
        at = self._places.get(key, (one, 0))[1]
        self._back = one.responses[at - 1].id if 0 < at <= len(one.responses) else ""

    def _tools(self, response: Response | None, record: Record) -> None:
        if response is None:
            return
        if record.toolCalls is not None:  # holds all calls each time
            response.names = [tool.name for tool in record.toolCalls if isinstance(tool.name, str)]
            times = (tool.timestamp for tool in record.toolCalls if tool.timestamp is not None)
            response.ended = [as_time(time, "toolCalls: timestamp") for time in times]
            response.agents = [tool.agentId for tool in record.toolCalls if isinstance(tool.agentId, str)]
        for part in (record.message.parts or []) if record.message else []:
            if part.functionCall is not None and isinstance(part.functionCall.name, str):
                response.names.append(part.functionCall.name)


def _usage(record: Record) -> Usage | None:
    tokens, metadata = record.tokens, record.usageMetadata
    if tokens is not None and tokens.input is not None:
        prompt = as_count(tokens.input, "tokens.input") + as_count(tokens.tool or 0, "tokens.tool")
        thoughts = as_count(tokens.thoughts or 0, "tokens.thoughts")
        output = as_count(tokens.output or 0, "tokens.output") + thoughts
        whole = as_count(prompt, "tokens.input", 1)
        return Usage(whole, output, min(whole, as_count(tokens.cached or 0, "tokens.cached")), thoughts)
    if metadata is None or metadata.promptTokenCount is None:
        return None
    return settled_usage(
        metadata.promptTokenCount,
        metadata.candidatesTokenCount or 0,
        read=metadata.cachedContentTokenCount,
        reasoning=metadata.thoughtsTokenCount,
        total=metadata.totalTokenCount,
        cache_apart=False,
        place="usageMetadata",
    )
