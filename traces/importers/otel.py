"""OpenTelemetry spans of GenAI clients and agents, as OTLP JSON: exports one after the other, or one a file.

Source: the OTLP JSON encoding (``resourceSpans`` / ``scopeSpans`` / ``spans``; times in ns, 64-bit integers as
strings) and the semantic conventions for generative AI, github.com/open-telemetry/semantic-conventions,
``docs/gen-ai/gen-ai-spans.md`` and ``gen-ai-agent-spans.md``: ``gen_ai.operation.name`` (``chat``,
``generate_content``, ``text_completion``, ``execute_tool``, ``invoke_agent``), ``gen_ai.usage.input_tokens`` (cached
tokens included), ``gen_ai.usage.output_tokens``, ``gen_ai.usage.cache_read.input_tokens``,
``gen_ai.conversation.id``, ``gen_ai.tool.name``. Read as well: older names of the counts (``prompt_tokens``,
``completion_tokens``), ``session.id`` (``docs/general/session.md``) in place of a conversation, spans without an
operation by what they have, OpenInference (github.com/Arize-ai/openinference, ``spec/semantic_conventions.md``), and
the spans of Claude Code's own telemetry (``claude_code.llm_request``).

What writers do otherwise, and what is made of it:

* where a span with counts is in another one with counts, or the counts of an agent's span are those of the calls beside
  it, the outer one or the agent's holds sums and is no call;
* instrumentations of Anthropic's client counted cached input apart for years (pydantic/logfire#1812,
  traceloop/openllmetry#2175, Arize-ai/openinference#1429). More cached than there is input shows that a writer does,
  and then it does in all its spans;
* GitHub Copilot CLI keeps the span of a call open until the tools that its answer called have ended: the answer is over
  when the first of them starts;
* a trace that is cut off lacks its outermost span: what names that span as its parent is still one agent's.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from continuum_sim.traces.check import MAX_DEPTH
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.otel_agents import SLACK_NS, Row, by_agent
from continuum_sim.traces.importers.otel_spans import CHAT, CLAUDE_CODE, TOOL, Span, read_spans
from continuum_sim.traces.importers.sources import Source, each_row_as
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.values import ANYTHING, large_or_whole
from continuum_sim.traces.schema import Program


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    traces = Groups()
    apart = {CLAUDE_CODE}
    path = Path()
    for source, number, request in each_row_as(sources, state, large_or_whole, ANYTHING):
        path = source.path
        try:
            # All or none of an export is taken; the first error ends the import unless bad ones are skipped.
            for trace_id, span in list(read_spans(request)) if state.skip_bad else read_spans(request):
                traces.add(trace_id, span)
                if span.counts_apart:
                    apart.add(span.writer)
        except TraceError as error:
            state.bad(error, source.path, number)
    conversations = Groups(by_time=True)
    for trace_id, packed in traces:
        spans = [_whole(Span(*span), apart, state) for span in packed]
        for key, row in by_agent(trace_id, spans, state):
            conversations.add(key, row, row.span.start_ns / 1e9)
    zero_ns: int | None = None
    for key, found in conversations:
        rows = [Row(Span(*span), *rest) for span, *rest in found]
        zero_ns = rows[0].span.start_ns if zero_ns is None else zero_ns
        try:
            programs = _Family(key, rows, zero_ns, state).programs()
        except TraceError as error:
            state.bad(TraceError(f"{key}: {error.detail}"), path)
            continue
        yield from programs


def _whole(span: Span, apart: set[str], state: ImportState) -> Span:
    """Return a span with its whole prompt."""
    if span.writer in apart and span.cached_tokens + span.created_tokens:
        if span.kind == CHAT and span.writer != CLAUDE_CODE:
            state.note("prompts whose cached part was counted apart, added to them")
        return span.with_cached_input()
    return span


class _Family:
    """The programs of a conversation: its own agent's with the sub-agents in it, and those without a parent."""

    def __init__(self, key: str, rows: list[Row], zero_ns: int, state: ImportState) -> None:
        self._key, self._zero_ns, self._state = key, zero_ns, state
        self._by_agent: dict[str, list[Row]] = {}
        self._parents: dict[str, str] = {}
        for row in rows:
            self._by_agent.setdefault(row.agent, []).append(row)
            if row.agent:
                self._parents[row.agent] = row.parent
        self._calls = {
            agent: [row.span for row in own if row.span.kind == CHAT] for agent, own in self._by_agent.items()
        }
        self._apart: list[Program] = []

    def programs(self) -> list[Program]:
        if not any(self._calls.values()):
            self._state.note("agents or traces without an LLM call that has token counts, left out")
        roots = [
            agent
            for agent in self._by_agent
            if (self._calls[agent] and not self._calls.get(self._parents.get(agent, ""), [])) or not agent
        ]
        return [self._made(agent, 0) for agent in roots if self._calls[agent]] + self._apart

    def _made(self, agent: str, depth: int) -> Program:
        started: list[Started] = []
        children = [child for child, parent in self._parents.items() if parent == agent and self._calls[child]]
        begins_ns = [self._by_agent[child][0].span.start_ns for child in children]
        ends_ns = self._ends_ns(agent, begins_ns)
        for child, first_ns in zip(children, begins_ns, strict=True):
            if depth == MAX_DEPTH:
                raise TraceError(f"sub-agents are nested too deeply, expected at most {MAX_DEPTH} levels")
            last_ns = max(row.span.end_ns for row in self._by_agent[child])
            after = sum(end_ns <= first_ns for end_ns in ends_ns) - 1
            own = self._calls[agent]
            join = next((i for i, call in enumerate(own) if i > after and call.start_ns >= last_ns), None)
            program = self._made(child, depth + 1)
            if after < 0:
                self._state.note("sub-agents that no turn started, imported as programs of their own")
                self._apart.append(program)
            else:
                started.append(Started(program, after, join))
        waits = {one.join_turn for one in started if one.join_turn is not None}
        name = self._state.unique(f"{self._key}/{agent}" if agent else self._key)
        arrival_s = max(0, self._by_agent[agent][0].span.start_ns - self._zero_ns) / 1e9
        calls = self._turns(agent, ends_ns, waits)
        return with_children(make_program(name, calls, self._state, arrival_s=arrival_s), started)

    def _ends_ns(self, agent: str, begins_ns: Sequence[int]) -> list[int]:
        """Return when the answers of an agent's calls were over: before the first tool or sub-agent in their spans."""
        inside = [(row.span.start_ns, row.span.end_ns) for row in self._by_agent[agent] if row.span.kind == TOOL]
        inside = sorted([*inside, *((begin_ns, begin_ns) for begin_ns in begins_ns)])
        starts_ns = [start_ns for start_ns, _ in inside]
        found: list[int] = []
        kept_open = 0
        for call in self._calls[agent]:
            over_ns = call.end_ns
            at = bisect_left(starts_ns, call.start_ns + 1)
            while at < len(inside) and inside[at][0] < call.end_ns:
                if inside[at][1] <= call.end_ns + SLACK_NS:
                    over_ns = inside[at][0]
                    kept_open += 1
                    break
                at += 1
            found.append(over_ns)
        if kept_open:
            self._state.note("calls whose spans hold the tools that they called, over when the first began", kept_open)
        return found

    def _turns(self, agent: str, ends_ns: Sequence[int], waits: set[int]) -> list[Call]:
        """Return the calls of an agent; before one that waits for sub-agents, the gap is what other tools took."""
        tools = [row for row in self._by_agent[agent] if row.span.kind == TOOL]
        starts_ns = [row.span.start_ns for row in tools]
        calls: list[Call] = []
        own = self._calls[agent]
        for index, call in enumerate(own):
            name, gap_s = "client", None
            if index + 1 < len(own):
                until_ns = own[index + 1].start_ns
                near = tools[bisect_left(starts_ns, call.start_ns) : bisect_right(starts_ns, until_ns)]
                between = [row for row in near if _is_in(row.span, call.start_ns, until_ns)]
                name = joined(row.span.name or "tool" for row in between) or name
                if index + 1 in waits:
                    until_ns = max([ends_ns[index], *(row.span.end_ns for row in between if not row.ran_agent)])
                elif any(row.span.end_ns > until_ns + SLACK_NS for row in between):
                    self._state.note("gaps shorter than the tools in them, which ran on")
                gap_s = (until_ns - ends_ns[index]) / 1e9
                if gap_s == 0 and index + 1 not in waits:
                    self._state.note("gaps of exactly 0 s")
                    gap_s = None if between else gap_s
            calls.append(
                Call(call.input_tokens, call.output_tokens, cached_tokens=call.cached_tokens, tool=name, tool_s=gap_s)
            )
        return calls


def _is_in(tool: Span, begin_ns: int, end_ns: int) -> bool:
    """Whether a tool began in a time; one of no length at its very end is in it, and not in the next."""
    if tool.start_ns == end_ns:
        return tool.end_ns == end_ns
    return tool.start_ns > begin_ns or tool.end_ns > begin_ns


def _sniff(head: Head) -> float:
    is_bare = head.top & {"resourceSpans", "scopeSpans", "instrumentationLibrarySpans"}
    if is_bare or (head.top & {"batches", "trace"} and head.names & {"resourceSpans", "scopeSpans"}):
        return 1.0 if "gen_ai." in head.text or "claude_code." in head.text else 0.6
    return 0.0


OTEL = Importer(
    name="otel",
    title="OpenTelemetry GenAI spans (OTLP JSON)",
    source="github.com/open-telemetry/semantic-conventions: docs/gen-ai/gen-ai-spans.md, gen-ai-agent-spans.md",
    patterns=("*.json", "*.jsonl"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: gen_ai.usage of the spans",
        "tool_s: from the end of a call, or the first tool in its span, to the start of the next",
        "tool: execute_tool spans in between, several joined by +",
        "arrival_s: start of a program's first span, from the earliest on",
    ),
    derived=(
        "kept_tokens: from prompt lengths; after a shorter prompt, gen_ai.usage.cache_read.input_tokens",
        "children: agents invoked below an agent, started by the last call before them, waited for by the first after",
    ),
    missing=("shared_prefix",),
)
