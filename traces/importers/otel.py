"""OpenTelemetry spans of GenAI clients and agents, as OTLP JSON: one export request a file, or one a line.

Source: the OTLP JSON encoding (``resourceSpans`` / ``scopeSpans`` / ``spans``; times in ns, 64-bit integers as
strings) and the semantic conventions for generative AI, github.com/open-telemetry/semantic-conventions,
``docs/gen-ai/gen-ai-spans.md`` and ``gen-ai-agent-spans.md``: ``gen_ai.operation.name`` (``chat``,
``generate_content``, ``text_completion``, ``execute_tool``, ``invoke_agent``), ``gen_ai.usage.input_tokens`` (cached
tokens included), ``gen_ai.usage.output_tokens``, ``gen_ai.usage.cache_read.input_tokens``,
``gen_ai.conversation.id``, ``gen_ai.tool.name``. Read as well: older names of the counts (``prompt_tokens``,
``completion_tokens``), ``session.id`` (``docs/general/session.md``) in place of a conversation, spans without an
operation by what they have, and OpenInference (github.com/Arize-ai/openinference, ``spec/semantic_conventions.md``).
Where a span with counts is in another one with counts, the outer one holds sums and is no call.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from continuum_sim.traces.check import MAX_DEPTH
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.fields import (
    as_array,
    as_count,
    as_object,
    as_text,
    optional_array,
    optional_object,
    refuse,
)
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.session import Session
from continuum_sim.traces.importers.sources import Source, each_row
from continuum_sim.traces.schema import Program

_NO_CALLS: Final = ("create_agent", "embeddings", "invoke_workflow", "retrieval")
"""Operations that may have counts and generate nothing, or only sum up."""
_PROMPT: Final = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
_OUTPUT: Final = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")
_CACHED: Final = (
    "gen_ai.usage.cache_read.input_tokens",
    "gen_ai.usage.cache_read_input_tokens",
    "llm.token_count.prompt_details.cache_read",
)
_CONVERSATION: Final = ("gen_ai.conversation.id", "session.id")
_TOOL_NAME: Final = ("gen_ai.tool.name", "tool.name")
_OF_OPENINFERENCE: Final = {"TOOL": "execute_tool", "AGENT": "invoke_agent", "EMBEDDING": "embeddings"}
_VALUES: Final = ("stringValue", "intValue", "doubleValue")
_CHAT, _TOOL, _AGENT, _OTHER = range(4)


def _read(sources: Iterable[Source], session: Session) -> Iterator[Program]:
    traces = Groups()
    path = Path()
    for source, number, request in each_row(sources, session):
        path = source.path
        try:
            for trace_id, span in _spans(request):
                traces.add(trace_id, span)
        except TraceError as error:
            session.bad(error, source.path, number)
    conversations = Groups(by_time=True)
    for trace_id, spans in traces:
        for key, row in _by_agent(trace_id, spans, session):
            conversations.add(key, row, row[1] / 1e9)
    zero_ns: int | None = None
    for key, rows in conversations:
        zero_ns = rows[0][1] if zero_ns is None else zero_ns
        try:
            programs = _family(key, rows, zero_ns, session)
        except TraceError as error:
            session.bad(TraceError(f"{key}: {error.detail}"), path)
            continue
        yield from programs


def _spans(request: Any) -> list[tuple[str, list[Any]]]:
    """Return the trace id of every span, with its kind, start and end in ns, ids, names and counts (see `_span`)."""
    found: list[tuple[str, list[Any]]] = []
    root = as_object(request, "the export")
    for i, resource in enumerate(as_array(root.get("resourceSpans"), "resourceSpans")):
        scopes = as_array(
            as_object(resource, f"resourceSpans[{i}]").get("scopeSpans"), f"resourceSpans[{i}].scopeSpans"
        )
        for j, scope in enumerate(scopes):
            place = f"resourceSpans[{i}].scopeSpans[{j}]"
            for k, span in enumerate(as_array(as_object(scope, place).get("spans"), f"{place}.spans")):
                found.append(_span(span, f"{place}.spans[{k}]"))
    return found


def _span(value: Any, place: str) -> tuple[str, list[Any]]:
    span = as_object(value, place)
    attributes = _attributes(span.get("attributes"))
    operation = attributes.get("gen_ai.operation.name")
    if operation is None:
        operation = _OF_OPENINFERENCE.get(str(attributes.get("openinference.span.kind")))
    prompt = _counted(attributes, _PROMPT, place, 1)
    output = _counted(attributes, _OUTPUT, place, 0)
    tool = _text_of(attributes, _TOOL_NAME)
    kind = _OTHER
    if operation == "execute_tool" or (operation is None and tool and prompt is None):
        kind = _TOOL
    elif operation == "invoke_agent":
        kind = _AGENT
    elif prompt is not None and output is not None and operation not in _NO_CALLS:
        kind = _CHAT
    name = tool if kind == _TOOL else _text_of(attributes, ("gen_ai.agent.name",))
    parent = span.get("parentSpanId")
    row = [
        kind,
        _nanoseconds(span.get("startTimeUnixNano"), f"{place}.startTimeUnixNano"),
        _nanoseconds(span.get("endTimeUnixNano"), f"{place}.endTimeUnixNano"),
        as_text(span.get("spanId"), f"{place}.spanId"),
        parent if isinstance(parent, str) else "",
        _text_of(attributes, _CONVERSATION),
        name,
        prompt or 0,
        output or 0,
        min(prompt or 0, _counted(attributes, _CACHED, place, 0) or 0),
    ]
    return as_text(span.get("traceId"), f"{place}.traceId"), row


def _attributes(value: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for item in optional_array(value):
        entry = optional_object(item)
        if isinstance(entry.get("key"), str):
            held = optional_object(entry.get("value"))
            found[entry["key"]] = next((v for k, v in held.items() if k in _VALUES), None)
    return found


def _text_of(attributes: dict[str, Any], names: tuple[str, ...]) -> str:
    values = (attributes.get(name) for name in names)
    return next((value for value in values if isinstance(value, str) and value), "")


def _counted(attributes: dict[str, Any], names: tuple[str, ...], place: str, low: int) -> int | None:
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
            value = int(value)
        if value is not None:
            return as_count(value, f"{place}.attributes.{name}", low)
    return None


def _nanoseconds(value: Any, place: str) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 19:
        value = int(value)
    if type(value) is not int or not 0 < value < 2**63:
        refuse(place, value, "nanoseconds since 1970")
    return int(value)


def _by_agent(trace_id: str, spans: list[list[Any]], session: Session) -> Iterator[tuple[str, list[Any]]]:
    """Yield the calls and tools of a trace with the conversation they belong to.

    A row ends with whether the span (a tool) ran a sub-agent, its agent and the parent of that.
    A conversation that has no name is its trace. The outermost agent (or none) is the conversation's own, ``""``; an
    agent invoked below another one is a sub-agent.
    """
    by_id = {span[3]: span for span in spans}
    names = sorted({span[5] for span in spans if span[5]})
    if len(names) > 1:
        session.note("traces with several conversations, taken by the conversation of each span")
    above = {span[3]: _above(span, by_id) for span in spans if span[0] != _OTHER}
    sums = {one[3] for span in spans if span[0] == _CHAT for one in above[span[3]] if one[0] == _CHAT}
    if sums:
        session.note("spans that sum up the calls in them, left out", len(sums))
    spawning = {one[3] for span in spans if span[0] == _AGENT for one in above[span[3]] if one[0] == _TOOL}
    for span in spans:
        if span[0] not in (_CHAT, _TOOL) or span[3] in sums:
            continue
        agents = [one[3] for one in above[span[3]] if one[0] == _AGENT][:-1]
        key = span[5] or (names[0] if len(names) == 1 else trace_id)
        parent = agents[1] if len(agents) > 1 else ""
        yield key, [*span, span[3] in spawning, agents[0] if agents else "", parent]


def _above(span: list[Any], by_id: dict[str, list[Any]]) -> list[list[Any]]:
    """Return the spans that a span is in, the innermost first."""
    found: list[list[Any]] = []
    at, seen = by_id.get(span[4]), {span[3]}
    while at is not None and at[3] not in seen:
        seen.add(at[3])
        found.append(at)
        at = by_id.get(at[4])
    return found


def _family(key: str, rows: list[list[Any]], zero_ns: int, session: Session) -> list[Program]:
    """Return the programs of a conversation: its own agent's with the sub-agents in it, and those without a parent."""
    by_agent: dict[str, list[list[Any]]] = {}
    parents: dict[str, str] = {}
    for row in rows:
        by_agent.setdefault(row[-2], []).append(row)
        if row[-2]:
            parents[row[-2]] = row[-1]
    chats = {agent: [row for row in own if row[0] == _CHAT] for agent, own in by_agent.items()}
    if not any(chats.values()):
        session.note("agents or traces without an LLM call that has token counts, left out")
    apart: list[Program] = []

    def made(agent: str, depth: int) -> Program:
        started: list[Started] = []
        own = chats[agent]
        for child, parent in parents.items():
            if parent != agent or not chats[child]:
                continue
            if depth == MAX_DEPTH:
                raise TraceError(f"sub-agents are nested too deeply, expected at most {MAX_DEPTH} levels")
            first_ns, last_ns = by_agent[child][0][1], max(row[2] for row in by_agent[child])
            after = sum(row[2] <= first_ns for row in own) - 1
            join = next((i for i, row in enumerate(own) if i > after and row[1] >= last_ns), None)
            program = made(child, depth + 1)
            if after < 0:
                session.note("sub-agents that no turn started, imported as programs of their own")
                apart.append(program)
            else:
                started.append(Started(program, after, join))
        waits = {one.join_turn for one in started if one.join_turn is not None}
        name = session.unique(f"{key}/{agent}" if agent else key)
        arrival_s = max(0, by_agent[agent][0][1] - zero_ns) / 1e9
        calls = _calls(by_agent[agent], waits)
        return with_children(make_program(name, calls, session, arrival_s=arrival_s), started)

    roots = [agent for agent in by_agent if (chats[agent] and not chats.get(parents.get(agent, ""), [])) or not agent]
    return [made(agent, 0) for agent in roots if chats[agent]] + apart


def _calls(rows: list[list[Any]], waits: set[int]) -> list[Call]:
    """Return the calls of one agent; before one that waits for sub-agents, the gap is what other tools took."""
    chats = [row for row in rows if row[0] == _CHAT]
    tools = [row for row in rows if row[0] == _TOOL]
    calls: list[Call] = []
    for index, row in enumerate(chats):
        names, gap_s = ["client"], 0.0
        if index + 1 < len(chats):
            following = chats[index + 1]
            between = [tool for tool in tools if row[1] <= tool[1] < following[1]]
            names = [tool[6] or "tool" for tool in between] or names
            until = following[1]
            if index + 1 in waits:
                until = max([row[2], *(tool[2] for tool in between if not tool[10])])
            gap_s = (until - row[2]) / 1e9
        calls.append(Call(row[7], row[8], cached_tokens=row[9], tool=joined(names), tool_s=gap_s))
    return calls


def _sniff(head: Head) -> float:
    if not head.has("resourceSpans"):
        return 0.0
    return 1.0 if "gen_ai." in head.text else 0.6


OTEL = Importer(
    name="otel",
    title="OpenTelemetry GenAI spans (OTLP JSON)",
    source="github.com/open-telemetry/semantic-conventions: docs/gen-ai/gen-ai-spans.md, gen-ai-agent-spans.md",
    patterns=("*.json", "*.jsonl"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: gen_ai.usage of the spans",
        "tool_s: from the end of a call to the start of the next",
        "tool: execute_tool spans in between, several joined by +",
        "arrival_s: start of a program's first span, from the earliest on",
    ),
    derived=(
        "kept_tokens: from prompt lengths; after a shorter prompt, gen_ai.usage.cache_read.input_tokens",
        "children: agents invoked below an agent, started by the last call before them, waited for by the first after",
    ),
    missing=("shared_prefix",),
)
