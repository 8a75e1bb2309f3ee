"""Which agent the calls and tools of a trace belong to, and which spans only sum up."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from continuum_sim.traces.importers.otel_spans import AGENT, CHAT, OTHER, TOOL, Span
from continuum_sim.traces.importers.state import ImportState

SLACK_NS: Final = 50_000_000
"""Clocks of spans are read one after the other, and some are rounded to ms: what ends so much later ends with it."""


class Row(NamedTuple):
    """A call or a tool with the agent it belongs to, ``""`` for the conversation's own."""

    span: Span
    agent: str
    parent: str
    """The agent that this one was invoked below."""
    ran_agent: bool
    """Whether this (a tool) ran a sub-agent."""


def by_agent(trace_id: str, spans: list[Span], state: ImportState) -> Iterator[tuple[str, Row]]:
    """Yield the calls and tools of a trace with the conversation they belong to.

    A conversation that has no name is its trace. The outermost agent (or none) is the conversation's own, ``""``; an
    agent invoked below another one is a sub-agent.
    """
    by_id = {span.id: span for span in spans}
    if len(by_id) < len(spans):
        state.note("spans that are there twice, taken once", len(spans) - len(by_id))
        spans = list(by_id.values())
    names = sorted({span.conversation for span in spans if span.conversation})
    if len(names) > 1:
        state.note("traces with several conversations, taken by the conversation of each span")
    # What calls and tools name as their parent without its being there is an agent that was cut off.
    for span in spans:
        if span.kind in (CHAT, TOOL) and span.parent and span.parent not in by_id:
            by_id[span.parent] = _cut_off(span)
    above = {span.id: _above(span, by_id) for span in spans if span.kind != OTHER}
    sums = _sums(spans, above)
    if sums:
        state.note("spans that sum up the calls in them, left out", len(sums))
    beside = _beside_their_sums(spans, above, sums, state)
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
        yield key, Row(span, agents[0], agents[1] if len(agents) > 1 else "", span.id in ran)
    if failed:
        state.note("calls without a prompt (they failed), left out", failed)


def _sums(spans: list[Span], above: dict[str, list[Span]]) -> set[str]:
    """Return the spans with counts that are no calls: others with counts are in them, and not in a tool in them.

    What is in a tool in a call is a sub-agent's, unless the counts are the sums of just those.
    """
    found: set[str] = set()
    in_tools: dict[str, list[Span]] = {}
    for span in spans:
        if span.kind != CHAT:
            continue
        is_in_tool = False
        for one in above[span.id]:
            is_in_tool |= one.kind == TOOL
            if one.kind == CHAT and is_in_tool:
                in_tools.setdefault(one.id, []).append(span)
            elif one.kind == CHAT:
                found.add(one.id)
    by_id = {span.id: span for span in spans}
    return found | {outer for outer, inner in in_tools.items() if _summed(by_id[outer], inner)}


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
    spans: list[Span], above: dict[str, list[Span]], sums: set[str], state: ImportState
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
            and agent.start_ns - SLACK_NS <= span.start_ns
            and span.end_ns <= agent.end_ns + SLACK_NS
        ]
        calls = _summed(agent, [span for span in near if span.kind == CHAT])
        if not calls:
            state.note("agents of which the file has sums and no calls, left out")
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
            and tool.start_ns <= agent.start_ns + SLACK_NS
            and agent.end_ns <= tool.end_ns + SLACK_NS
        ]
        if around:
            yield min(around, key=lambda tool: tool.end_ns - tool.start_ns).id
