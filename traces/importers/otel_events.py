"""The events of agents' OTLP logs: each as a row of what is needed of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.fields import as_count, as_seconds, as_time, optional_array, optional_object, refuse
from continuum_sim.traces.importers.values import decode, decode_if

PREFIXES: Final = ("claude_code.", "codex.", "gemini_cli.", "copilot_chat.", "qwen-code.", "gen_ai.client.")
CALL, GENERIC_CALL, TOOL, PROMPT, SENT = range(5)
_KINDS: Final = {
    "claude_code.api_request": CALL,
    "claude_code.tool_result": TOOL,
    "claude_code.user_prompt": PROMPT,
    "codex.sse_event": CALL,
    "codex.websocket_event": CALL,
    "codex.api_request": SENT,
    "codex.websocket_request": SENT,
    "codex.tool_result": TOOL,
    "codex.user_prompt": PROMPT,
    "gemini_cli.api_response": CALL,
    "gemini_cli.tool_call": TOOL,
    "gemini_cli.user_prompt": PROMPT,
    "qwen-code.api_response": CALL,
    "qwen-code.tool_call": TOOL,
    "qwen-code.user_prompt": PROMPT,
    "gen_ai.client.inference.operation.details": GENERIC_CALL,
    "copilot_chat.tool.call": TOOL,
}
_INPUT: Final = ("input_tokens", "input_token_count", "gen_ai.usage.input_tokens")
_OUTPUT: Final = ("output_tokens", "output_token_count", "gen_ai.usage.output_tokens")
_CACHED: Final = (
    "cache_read_tokens",
    "cached_token_count",
    "cached_content_token_count",
    "gen_ai.usage.cache_read.input_tokens",
)
_SESSION: Final = ("session.id", "conversation.id", "gen_ai.conversation.id")
_TOOL_NAME: Final = ("tool_name", "function_name", "gen_ai.tool.name", "tool.name", "name")
_SAME: Final = ("call_id", "tool_use_id", "request_id", "gen_ai.response.id")
_MOST_DIGITS: Final = 16
"""Of a number that is written as text: 2**53 has as many."""
_MAIN: Final = ("", "main", "repl_main_thread", "sdk")
"""Where a request came from (``query_source``, ``role``): the conversation itself. Anything else but a sub-agent is a
side request, such as the one for a title."""


class _Attribute(msgspec.Struct, gc=False):
    key: str
    value: dict[str, Any]


class _Record(msgspec.Struct, gc=False):
    """Of a record of any shape, what has to be looked into."""

    timeUnixNano: Any = None
    time_unix_nano: Any = None
    observedTimeUnixNano: Any = None
    observed_time_unix_nano: Any = None
    traceId: Any = None
    trace_id: Any = None
    eventName: Any = None
    body: Any = None
    hrTime: Any = None
    attributes: Any = None


class _UsualRecord(_Record, gc=False):
    attributes: list[_Attribute] = []


_R = TypeVar("_R")


class _Scope(msgspec.Struct, Generic[_R]):
    logRecords: list[_R] | None = None
    log_records: list[_R] | None = None


class _Resource(msgspec.Struct, Generic[_R]):
    resource: Any = None
    scopeLogs: list[_Scope[_R]] | None = None
    scope_logs: list[_Scope[_R]] | None = None


class Export(msgspec.Struct, Generic[_R]):
    """An export request, or a record as an SDK writes it: what of them has to be looked into."""

    resourceLogs: list[_Resource[_R]] | None = None
    resource_logs: list[_Resource[_R]] | None = None
    attributes: Any = None
    hrTime: Any = None
    timestamp: Any = None
    resource: Any = None


_USUAL: Final = msgspec.json.Decoder(Export[_UsualRecord])
_ANY: Final = msgspec.json.Decoder(Export[msgspec.Raw])
_ANY_RECORD: Final = msgspec.json.Decoder(_Record)


def read_export(data: bytes | msgspec.Raw) -> Export[Any]:
    """Return the export in ``data``; of records that are not as they should be, the JSON.

    Raises
    ------
    TraceError
        If it is no JSON, or no export.
    """
    try:
        export: Export[Any] = decode(data, _USUAL)
    except TraceError:
        export = decode(data, _ANY)
    return export


class Row(NamedTuple):
    """One event: times in seconds since 1970, the start of it where it says how long it took."""

    kind: int
    end: float
    start: float | None
    prompt: int
    output: int
    cached: int
    agent: str
    """Empty for the conversation itself, the name of a sub-agent, or ``~`` for a side request."""
    name: str
    same: str
    """What both have in common where an event comes twice."""


def events_of(export: Export[Any], stem: str) -> Iterator[tuple[str, Row | TraceError]]:
    """Yield the conversation of every event that is needed, and the event or what is wrong with it."""
    if export.attributes is not None:
        at = export.hrTime if export.hrTime is not None else export.timestamp
        common = _attributes(optional_object(export.resource).get("attributes"))
        found = _row(_Record(hrTime=at), _attributes(export.attributes), common, stem)
        if found is not None:
            yield found
        return
    resources = export.resourceLogs if export.resourceLogs is not None else export.resource_logs
    if resources is None:
        refuse("resourceLogs", None, "an array")
    for i, resource in enumerate(resources):
        common = _attributes(optional_object(resource.resource).get("attributes"))
        for j, scope in enumerate(resource.scopeLogs or resource.scope_logs or []):
            for k, record in enumerate(scope.logRecords or scope.log_records or []):
                if type(record) is msgspec.Raw:
                    record = _record(record)
                attributes = _attributes(record.attributes)
                try:
                    found = _row(record, attributes, common, stem)
                except TraceError as error:
                    place = f"resourceLogs[{i}].scopeLogs[{j}].logRecords[{k}]"
                    yield _key(record, attributes, common, stem), TraceError(f"{place}: {error.detail}")
                    continue
                if found is not None:
                    yield found


def _record(data: msgspec.Raw) -> _Record:
    found = decode_if(_ANY_RECORD, data)
    return found if isinstance(found, _Record) else _Record()


def _key(record: _Record, attributes: dict[str, Any], common: dict[str, Any], stem: str) -> str:
    trace = next((id for id in (record.traceId, record.trace_id) if id and type(id) is str), stem)
    return _text(attributes, _SESSION) or _text(common, _SESSION) or trace


def _row(record: _Record, attributes: dict[str, Any], common: dict[str, Any], stem: str) -> tuple[str, Row] | None:
    """Return an event with its conversation; none where it is none that is needed."""
    name = _event(record, attributes)
    kind = _KINDS.get(name)
    if kind is None or (name in ("codex.sse_event", "codex.websocket_event") and not _counts_tokens(attributes)):
        return None
    end = _time(record, attributes)
    duration = _number(attributes, ("duration_ms",))
    start = None if duration is None else end - as_seconds(duration, "duration_ms", 1e3)
    key = _key(record, attributes, common, stem)
    prompt = output = cached = 0
    if kind in (CALL, GENERIC_CALL):
        if name.startswith("codex."):
            start = None  # what it may say is how long the last piece of the stream took
        prompt = _count(attributes, _INPUT)
        cached = _count(attributes, _CACHED, 0)
        output = _count(attributes, _OUTPUT)
        if name.startswith("claude_code."):
            prompt += cached + _count(attributes, ("cache_creation_tokens",), 0)
        elif not name.startswith("codex."):
            prompt += _count(attributes, ("tool_token_count",), 0)
            output += _count(attributes, ("thoughts_token_count",), 0)
        prompt = as_count(prompt, "the whole prompt", 1)
    same = _text(attributes, _SAME)
    if not same and name.startswith("codex."):
        same = f"{_text(attributes, ('event.timestamp',)) or round(end, 3)}"
    tool = _text(attributes, _TOOL_NAME) if kind == TOOL else ""
    return key, Row(kind, end, start, prompt, output, min(prompt, cached), _agent(attributes), tool, same)


def _event(record: _Record, attributes: dict[str, Any]) -> str:
    """Return an event's whole name: Claude Code's attribute has it without what it begins with, the body with it."""
    body = optional_object(record.body)
    names = (attributes.get("event.name"), record.eventName, body.get("stringValue", body.get("string_value")))
    texts = [name for name in names if isinstance(name, str)]
    for name in texts:
        if name in _KINDS:
            return name
    return f"claude_code.{texts[0]}" if texts else ""


def _agent(attributes: dict[str, Any]) -> str:
    source = _text(attributes, ("query_source", "role"))
    agent = _text(attributes, ("agent.id", "agent_id", "agent.name"))
    if agent or source == "subagent" or source.startswith("agent"):
        return agent or f"{source}-{_text(attributes, ('prompt_id', 'prompt.id'))}".rstrip("-")
    return "" if source in _MAIN or source.startswith("repl_main_thread") else "~"


def _counts_tokens(attributes: dict[str, Any]) -> bool:
    return attributes.get("event.kind") == "response.completed" and _number(attributes, _INPUT) is not None


def _time(record: _Record, attributes: dict[str, Any]) -> float:
    """Return when an event was recorded, which is when what it tells of had ended."""
    for value in (
        *(record.timeUnixNano, record.time_unix_nano),
        *(record.observedTimeUnixNano, record.observed_time_unix_nano),
    ):
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
            value = int(value)
        if type(value) is int and 0 < value < 2**63:
            return value / 1e9
    pair = record.hrTime
    if isinstance(pair, list) and len(pair) == 2 and all(type(one) is int and 0 <= one < 2**53 for one in pair):
        return as_time(pair[0] + pair[1] / 1e9, "hrTime")
    return as_time(attributes.get("event.timestamp", pair), "timeUnixNano")


def _attributes(value: Any) -> dict[str, Any]:
    """Return attributes by name; in OTLP they are an array of keys and typed values."""
    if isinstance(value, dict):
        return value
    try:
        return {item.key: next(iter(item.value.values()), None) for item in value}
    except (TypeError, AttributeError):
        pass  # not as it should be: what there is of it
    found: dict[str, Any] = {}
    for item in optional_array(value):
        entry = optional_object(item)
        if isinstance(entry.get("key"), str):
            held = optional_object(entry.get("value"))
            found[entry["key"]] = next(iter(held.values()), None)
    return found


def _text(attributes: dict[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = attributes.get(name)
        if value and type(value) is str:
            return value
    return ""


def _number(attributes: dict[str, Any], names: tuple[str, ...]) -> Any:
    """Return the first of these that there is; numbers may be written as text."""
    for name in names:
        value = attributes.get(name)
        if type(value) is str and value.isascii() and len(value) <= _MOST_DIGITS:
            try:
                return int(value) if value.isdigit() else float(value)
            except ValueError:
                return value
        if value is not None:
            return value
    return None


def _count(attributes: dict[str, Any], names: tuple[str, ...], default: int | None = None) -> int:
    value = _number(attributes, names)
    return as_count(default if value is None else value, f"attributes.{names[0]}")
