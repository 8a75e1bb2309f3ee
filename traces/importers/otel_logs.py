"""Telemetry of command-line agents, as OTLP **logs** (``resourceLogs``): one event a call, a tool, a prompt.

Source: the OTLP JSON encoding (``resourceLogs`` / ``scopeLogs`` / ``logRecords``; one export request a file, or one a
line) and, for the events,

* Claude Code: docs.anthropic.com/en/docs/claude-code/monitoring-usage. ``claude_code.api_request`` comes at the end of
  a request, with ``duration_ms``; what came from a cache or went into it is counted apart (``cache_read_tokens``,
  ``cache_creation_tokens``). ``query_source`` and ``agent.name`` tell sub-agents and side requests;
* Codex CLI: github.com/openai/codex, ``codex-rs/otel/src/events/session_telemetry.rs``. The counts are in
  ``codex.sse_event`` (or ``codex.websocket_event``) with ``event.kind`` ``response.completed``, the request's start in
  the ``codex.api_request`` (``codex.websocket_request``) before it; every event may come twice;
* Gemini CLI: github.com/google-gemini/gemini-cli, ``docs/cli/telemetry.md`` and ``packages/core/src/telemetry``.
  ``gemini_cli.api_response`` has the cached part in ``input_token_count`` and the thoughts beside
  ``output_token_count``. What it writes itself (``telemetry.outfile``: one record after the other, ``attributes`` an
  object, ``hrTime``) is read as well;
* Copilot: github.com/microsoft/vscode-copilot-chat, ``src/platform/otel/common/genAiEvents.ts``:
  ``gen_ai.client.inference.operation.details`` of the semantic conventions and ``copilot_chat.tool.call``. It has no
  duration. Gemini CLI writes it beside its own event: then it is passed over.

No recorded file was at hand: fields are those of the documentation and the sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.otel_events import (
    CALL,
    GENERIC_CALL,
    PREFIXES,
    PROMPT,
    SENT,
    TOOL,
    Row,
    events_of,
    read_export,
)
from continuum_sim.traces.importers.sources import Source, each_row_as
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    conversations = Groups(by_time=True)
    path = Path()
    for source, number, export in each_row_as(sources, state, read_export):
        path = source.path
        together: dict[str, list[Row]] = {}
        try:
            for key, row in events_of(export, source.stem):
                if isinstance(row, Row):
                    together.setdefault(key, []).append(row)
                else:
                    conversations.drop(key)
                    state.bad(row, path, number)
        except TraceError as error:
            state.bad(error, path, number)
        for key, rows in together.items():
            conversations.add(key, rows, min(map(_at, rows)))
    zero: float | None = None
    for key, packed in conversations:
        rows = [Row._make(row) for together in packed for row in together]
        zero = min(map(_at, rows)) if zero is None else zero
        try:
            programs = _family(key, rows, zero, state)
        except TraceError as error:
            state.bad(TraceError(f"session {key}: {error.detail}"), path)
            continue
        yield from programs


def _family(key: str, rows: list[Row], zero: float, state: ImportState) -> list[Program]:
    """Return a session's programs: the conversation with its sub-agents, and side requests."""
    agents = _by_agent(sorted(rows, key=lambda one: one.end), state)
    main = agents.pop("", [])
    main_calls = [row for row in main if row.kind == CALL]
    started: list[Started] = []
    programs: list[Program] = []
    side = 0
    for agent, own in agents.items():
        calls = [row for row in own if row.kind == CALL]
        if agent == "~":
            for row in calls:
                side += 1
                name = state.unique(f"{key}/side-{side}")
                programs.append(make_program(name, _calls([row], set(), state), state, arrival_s=_at(row) - zero))
            continue
        if not calls:
            continue
        name = state.unique(f"{key}/{agent}")
        program = make_program(name, _calls(own, set(), state), state, arrival_s=max(0.0, _at(calls[0]) - zero))
        after = sum(row.end <= _at(calls[0]) for row in main_calls) - 1
        if after < 0:
            state.note("sub-agents that no turn started, imported as programs of their own")
            programs.append(program)
            continue
        waited = after + 1 < len(main_calls) and _at(main_calls[after + 1]) >= calls[-1].end
        started.append(Started(program, after, after + 1 if waited else None))
    if side:
        state.note("requests beside the conversation (titles, summaries), programs of their own", side)
    if main_calls:
        waits = {one.join_turn for one in started if one.join_turn is not None}
        arrival_s = max(0.0, _at(main_calls[0]) - zero)
        made = make_program(state.unique(key), _calls(main, waits, state), state, arrival_s=arrival_s)
        return [with_children(made, started), *programs]
    if not agents:
        state.note("sessions without a request that has token counts, left out")
    return [*(one.program for one in started), *programs]


def _by_agent(rows: list[Row], state: ImportState) -> dict[str, list[Row]]:
    """Return the events by agent, each once, with the time at which each of Codex's requests was sent."""
    native = any(row.kind == CALL for row in rows)
    found: dict[str, list[Row]] = {}
    seen: set[tuple[Any, ...]] = set()
    sent: float | None = None
    for row in rows:
        identity = (row.kind, row.same, row.prompt, row.output, row.name)
        if row.same and identity in seen:
            continue
        seen.add(identity)
        if row.kind == SENT:
            sent = _at(row)
        elif row.kind == GENERIC_CALL and native:
            continue
        elif row.kind in (CALL, GENERIC_CALL):
            start = row.start if row.start is not None else sent
            found.setdefault(row.agent, []).append(row._replace(kind=CALL, start=start))
            sent = None
        else:
            found.setdefault(row.agent, []).append(row)
    return found


def _at(row: Row) -> float:
    return row.end if row.start is None else row.start


def _calls(rows: list[Row], waits: set[int], state: ImportState) -> list[Call]:
    """Return the calls of one agent; before one that waits for sub-agents, the gap is for the simulation to say."""
    places = [place for place, row in enumerate(rows) if row.kind == CALL]
    found: list[Call] = []
    for index, place in enumerate(places):
        row = rows[place]
        names: list[str] = []
        gap_s: float | None = None
        if index + 1 < len(places):
            following = rows[places[index + 1]]
            between = rows[place + 1 : places[index + 1]]
            tools = [one for one in between if one.kind == TOOL]
            prompts = [one.end for one in between if one.kind == PROMPT]
            names = [*(one.name or "tool" for one in tools), *(("human",) if prompts else ())]
            if index + 1 in waits:
                gap_s = 0.0
            elif tools and not prompts:
                began = min(row.end if one.start is None else max(row.end, one.start) for one in tools)
                gap_s = max(one.end for one in tools) - began
            elif following.start is not None:
                gap_s = following.start - row.end
            elif prompts:
                gap_s = max(prompts) - row.end
            else:
                state.note("requests without a duration and without tools before them, gap taken as 0 s")
        found.append(
            Call(row.prompt, row.output, cached_tokens=row.cached, tool=joined(names) or "client", tool_s=gap_s)
        )
    return found


def _sniff(head: Head) -> float:
    known = any(f'"{prefix}' in head.text for prefix in PREFIXES)
    if head.top & {"resourceLogs", "resource_logs"}:
        return 1.0 if known or '"com.anthropic.claude_code' in head.text else 0.6
    return 0.9 if known and head.has("attributes") and "event.name" in head.names else 0.0


OTEL_LOGS = Importer(
    name="otel-logs",
    title="OpenTelemetry logs of Claude Code, Codex, Gemini CLI and Copilot (OTLP JSON)",
    source="docs.anthropic.com: claude-code/monitoring-usage; github.com/google-gemini/gemini-cli: docs/cli",
    patterns=("*.json", "*.jsonl", "*.log"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: attributes of the events, cached part and thoughts included",
        "tool_s: from the start of the first tool to the end of the last; without tools, or where a prompt came, from "
        "the end of a request to the start of the next",
        "tool: names of the tools in between, several joined by +, and human where a user's prompt came",
        "arrival_s: start of a program's first request, from the earliest on",
    ),
    derived=(
        "kept_tokens: from prompt lengths; after a shorter prompt, what the cache gave",
        "children: sub-agents that ran between two requests, started by the one before, waited for by the one after",
    ),
    missing=("shared_prefix", "compactions: only shorter prompts show them"),
)
