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

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from continuum_sim.traces.check import MAX_DEPTH
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.otel_spans import AGENT, CHAT, CLAUDE_CODE, OTHER, TOOL, Span, read_spans
from continuum_sim.traces.importers.session import Session
from continuum_sim.traces.importers.sources import Source, each_row
from continuum_sim.traces.schema import Program

_SLACK_NS: Final = 50_000_000
"""Clocks of spans are read one after the other, and some are rounded to ms: what ends so much later ends with it."""


class _Row(NamedTuple):
    """A call or a tool with the agent it belongs to, ``""`` for the conversation's own."""

    span: Span
    agent: str
    parent: str
    """The agent that this one was invoked below."""
    ran_agent: bool
    """Whether this (a tool) ran a sub-agent."""


def _read(sources: Iterable[Source], session: Session) -> Iterator[Program]:
    traces = Groups()
    apart = {CLAUDE_CODE}
    path = Path()
    for source, number, request in each_row(sources, session):
        path = source.path
        try:
            for trace_id, span in list(read_spans(request)):
                traces.add(trace_id, span)
                if span.counts_apart:
                    apart.add(span.writer)
        except TraceError as error:
            session.bad(error, source.path, number)
    conversations = Groups(by_time=True)
    for trace_id, packed in traces:
        spans = [_whole(Span(*span), apart, session) for span in packed]
        for key, row in _by_agent(trace_id, spans, session):
            conversations.add(key, row, row.span.start_ns / 1e9)
    zero_ns: int | None = None
    for key, found in conversations:
        rows = [_Row(Span(*span), *rest) for span, *rest in found]
        zero_ns = rows[0].span.start_ns if zero_ns is None else zero_ns
        try:
            programs = _Family(key, rows, zero_ns, session).programs()
        except TraceError as error:
            session.bad(TraceError(f"{key}: {error.detail}"), path)
            continue
        yield from programs


def _whole(span: Span, apart: set[str], session: Session) -> Span:
    """Return a span with its whole prompt."""
    if span.writer in apart and span.cached_tokens + span.created_tokens:
        if span.kind == CHAT and span.writer != CLAUDE_CODE:
            session.note("prompts whose cached part was counted apart, added to them")
        return span.with_cached_input()
    return span


def _by_agent(trace_id: str, spans: list[Span], session: Session) -> Iterator[tuple[str, _Row]]:
    """Yield the calls and tools of a trace with the conversation they belong to.

    A conversation that has no name is its trace. The outermost agent (or none) is the conversation's own, ``""``; an
    agent invoked below another one is a sub-agent.
    """
    by_id = {span.id: span for span in spans}
    names = sorted({span.conversation for span in spans if span.conversation})
    if len(names) > 1:
        session.note("traces with several conversations, taken by the conversation of each span")
    # What calls and tools name as their parent without its being there is an agent that was cut off.
    for span in spans:
        if span.kind in (CHAT, TOOL) and span.parent and span.parent not in by_id:
            by_id[span.parent] = _cut_off(span)
    above = {span.id: _above(span, by_id) for span in spans if span.kind != OTHER}
    sums = {one.id for span in spans if span.kind == CHAT for one in above[span.id] if one.kind == CHAT}
    if sums:
        session.note("spans that sum up the calls in them, left out", len(sums))
    beside = _beside_their_sums(spans, above, sums, session)
    ran = {one.id for span in spans if span.kind == AGENT for one in above[span.id] if one.kind == TOOL}
    ran.update(_tools_around(spans, ran, above))
    failed = 0
    for span in spans:
        if span.kind not in (CHAT, TOOL) or span.id in sums:
            continue
        if span.kind == CHAT and not span.input_tokens:
            failed += 1
            continue
        agents = [one.id for one in (beside.get(span.id), *above[span.id]) if one is not None and one.kind == AGENT]
        outermost = by_id[agents[-1]].conversation if agents else ""
        agents = [*agents[:-1], ""]
        if span.agent:
            agents = [span.agent, span.parent_agent]
        key = outermost or span.conversation or (names[0] if len(names) == 1 else trace_id)
        yield key, _Row(span, agents[0], agents[1] if len(agents) > 1 else "", span.id in ran)
    if failed:
        session.note("calls without a prompt (they failed), left out", failed)


def _cut_off(span: Span) -> Span:
    no_counts = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0, "created_tokens": 0}
    return Span(**{**span._asdict(), **no_counts, "kind": AGENT, "id": span.parent, "parent": "", "name": ""})


def _above(span: Span, by_id: dict[str, Span]) -> list[Span]:
    """Return the spans that a span is in, the innermost first."""
    found: list[Span] = []
    at, seen = by_id.get(span.parent), {span.id}
    while at is not None and at.id not in seen:
        seen.add(at.id)
        found.append(at)
        at = by_id.get(at.parent)
    return found


def _beside_their_sums(
    spans: list[Span], above: dict[str, list[Span]], sums: set[str], session: Session
) -> dict[str, Span]:
    """Return the agent of calls and tools that are beside it rather than in it: its counts are the sums of theirs."""
    agents = [span for span in spans if span.kind == AGENT and span.input_tokens]
    if not agents:
        return {}
    full = {one.id for span in spans if span.kind == CHAT and span.id not in sums for one in above[span.id]}
    found: dict[str, Span] = {}
    for agent in sorted(agents, key=lambda one: one.end_ns - one.start_ns):
        if agent.id in full:
            continue
        near = [
            span
            for span in spans
            if span.parent == agent.parent
            and span.id not in found
            and span.id not in sums
            and span.kind in (CHAT, TOOL)
            and agent.start_ns - _SLACK_NS <= span.start_ns
            and span.end_ns <= agent.end_ns + _SLACK_NS
        ]
        calls = _summed(agent, [span for span in near if span.kind == CHAT])
        if not calls:
            session.note("agents of which the file has sums and no calls, left out")
            continue
        found.update((call.id, agent) for call in calls)
        found.update((tool.id, agent) for tool in near if tool.kind == TOOL and tool.start_ns >= calls[0].start_ns)
    return found


def _summed(agent: Span, calls: list[Span]) -> list[Span]:
    """Return those of ``calls`` whose counts an agent's are the sums of, in order of time; none if there are none."""
    alike: tuple[Callable[[Span], bool], ...] = (
        lambda call: True,
        lambda call: bool(agent.name) and call.agent_name == agent.name,
        lambda call: bool(agent.model) and call.model == agent.model,
    )
    for is_alike in alike:
        chosen = sorted((call for call in calls if is_alike(call)), key=lambda call: call.start_ns)
        inputs, outputs = (sum(call.input_tokens for call in chosen), sum(call.output_tokens for call in chosen))
        if chosen and (inputs, outputs) == (agent.input_tokens, agent.output_tokens):
            return chosen
    return []


def _tools_around(spans: list[Span], known: set[str], above: dict[str, list[Span]]) -> Iterator[str]:
    """Yield the tools that ran an agent which has their own parent: the shortest in whose time it ran."""
    for agent in spans:
        if agent.kind != AGENT or any(one.id in known for one in above[agent.id]):
            continue
        around = [
            tool
            for tool in spans
            if tool.kind == TOOL
            and tool.parent == agent.parent
            and tool.start_ns <= agent.start_ns + _SLACK_NS
            and agent.end_ns <= tool.end_ns + _SLACK_NS
        ]
        if around:
            yield min(around, key=lambda tool: tool.end_ns - tool.start_ns).id


class _Family:
    """The programs of a conversation: its own agent's with the sub-agents in it, and those without a parent."""

    def __init__(self, key: str, rows: list[_Row], zero_ns: int, session: Session) -> None:
        self._key, self._zero_ns, self._session = key, zero_ns, session
        self._by_agent: dict[str, list[_Row]] = {}
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
            self._session.note("agents or traces without an LLM call that has token counts, left out")
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
                self._session.note("sub-agents that no turn started, imported as programs of their own")
                self._apart.append(program)
            else:
                started.append(Started(program, after, join))
        waits = {one.join_turn for one in started if one.join_turn is not None}
        name = self._session.unique(f"{self._key}/{agent}" if agent else self._key)
        arrival_s = max(0, self._by_agent[agent][0].span.start_ns - self._zero_ns) / 1e9
        calls = self._turns(agent, ends_ns, waits)
        return with_children(make_program(name, calls, self._session, arrival_s=arrival_s), started)

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
                if inside[at][1] <= call.end_ns + _SLACK_NS:
                    over_ns = inside[at][0]
                    kept_open += 1
                    break
                at += 1
            found.append(over_ns)
        if kept_open:
            self._session.note(
                "calls whose spans hold the tools that they called, over when the first began", kept_open
            )
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
                between = tools[bisect_left(starts_ns, call.start_ns) : bisect_left(starts_ns, until_ns)]
                name = joined(row.span.name or "tool" for row in between) or name
                if index + 1 in waits:
                    until_ns = max([ends_ns[index], *(row.span.end_ns for row in between if not row.ran_agent)])
                elif any(row.span.end_ns > until_ns + _SLACK_NS for row in between):
                    self._session.note("gaps shorter than the tools in them, which ran on")
                gap_s = (until_ns - ends_ns[index]) / 1e9
                if gap_s == 0 and index + 1 not in waits:
                    self._session.note("gaps of exactly 0 s")
                    gap_s = None if between else gap_s
            calls.append(
                Call(call.input_tokens, call.output_tokens, cached_tokens=call.cached_tokens, tool=name, tool_s=gap_s)
            )
        return calls


def _sniff(head: Head) -> float:
    if head.top & {"resourceSpans", "scopeSpans"} or (head.has("batches") and "scopeSpans" in head.names):
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
