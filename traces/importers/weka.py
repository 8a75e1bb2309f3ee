"""kv-cache-tester (Weka): recorded Claude Code traffic, one conversation per JSON file, or per line (`traces.jsonl`).

Source: github.com/callanjfox/kv-cache-tester, ``docs/trace_replay_tester.md`` and ``traces/``; the fields with their
types in github.com/ai-dynamo/aiperf, ``src/aiperf/dataset/loader/weka_trace_models.py``. ``think_time`` is the
client's delay before a request, ``api_time`` the server's time for it; hash ids are unique within a file unless
``hash_id_scope`` is ``global``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program, tool_name
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.fields import (
    as_array,
    as_count,
    as_object,
    as_seconds,
    as_text,
    as_time,
    optional_array,
    optional_object,
)
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.own import OWN, own_arrival, own_call, own_prefix, with_own_rest
from continuum_sim.traces.importers.prefixes import as_hash_ids, kept_tokens
from continuum_sim.traces.importers.sources import Source, each_document
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.values import large_or_whole, opened, whole
from continuum_sim.traces.schema import Program, SharedPrefix


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    return each_document(sources, state, lambda document, source: _programs(document, state), large_or_whole)


def _record(value: Any, place: str) -> dict[str, Any]:
    """Return an object; of a large document, its requests and hashes, most of it, stay undecoded until needed."""
    record = as_object(opened(value), place)
    if type(value) is msgspec.Raw:
        record = {name: held if name in ("requests", "hash_ids") else whole(held) for name, held in record.items()}
    return record


@dataclass
class _Agent:
    """A sub-agent in its place among its parent's requests."""

    place: str
    record: dict[str, Any]
    after_turn: int
    """Index of the request before it, -1 if there is none."""
    waited: bool
    """True if the request after it waits for it (all but those launched to run in the background)."""


def _programs(document: Any, state: ImportState) -> Iterator[Program]:
    trace = _record(document, "the file")
    name = state.unique(as_text(trace.get("id"), "id"))
    size = as_count(trace.get("block_size"), "block_size", 1)
    own = optional_object(optional_object(trace.get("totals")).get(OWN))
    requests: list[tuple[str, dict[str, Any]]] = []
    agents: list[_Agent] = []
    for index, value in enumerate(as_array(opened(trace.get("requests")), "requests")):
        place = f"requests[{index}]"
        record = _record(value, place)
        if record.get("type") == "subagent":
            agents.append(_Agent(place, record, len(requests) - 1, record.get("status") != "async_launched"))
        else:
            requests.append((place, record))
    requests, agents = _once(requests, agents, state)
    waits = {agent.after_turn: agent for agent in agents if agent.waited}
    program = make_program(
        name,
        list(_calls(requests, size, own, waits, state)),
        state,
        arrival_s=own_arrival(own),
        shared_prefix=own_prefix(own) if own else _prefix(trace, "the file"),
    )
    if own:
        yield with_own_rest(program, own)
        return
    started: list[Started] = []
    for agent in agents:
        child = _child(name, agent, size, state)
        if child is None:
            continue
        if agent.after_turn < 0:
            state.note("sub-agents that no turn started, imported as programs of their own")
            yield child
            continue
        join = agent.after_turn + 1 if agent.waited and agent.after_turn + 1 < len(requests) else None
        started.append(Started(child, agent.after_turn, join))
    yield with_children(program, started)


def _once(
    requests: list[tuple[str, dict[str, Any]]], agents: list[_Agent], state: ImportState
) -> tuple[list[tuple[str, dict[str, Any]]], list[_Agent]]:
    """Leave out the second record of requests recorded twice, and renumber the places of sub-agents.

    Older traces have a streaming and a non-streaming record of the same request, with the same hashes; the streaming
    one counts (`traces/cache_hit_rates_no_pairs.txt` in the source's repository).
    """
    kept: list[tuple[str, dict[str, Any]]] = []
    place_of: dict[int, int] = {-1: -1}
    for index, (place, request) in enumerate(requests):
        before = kept[-1][1] if kept else {}
        pair = [before.get("type"), request.get("type")] in (["s", "n"], ["n", "s"])
        if pair and (ids := whole(request.get("hash_ids"))) and whole(before.get("hash_ids")) == ids:
            state.note("requests recorded twice, streaming and not, taken once")
            if request["type"] == "s":
                kept[-1] = (place, request)
        else:
            kept.append((place, request))
        place_of[index] = len(kept) - 1
    return kept, [replace(agent, after_turn=place_of[agent.after_turn]) for agent in agents]


def _child(parent: str, agent: _Agent, size: int, state: ImportState) -> Program | None:
    place = f"{agent.place}.requests"
    inner = as_array(opened(agent.record.get("requests")), place)
    requests = [(f"{place}[{i}]", _record(value, f"{place}[{i}]")) for i, value in enumerate(inner)]
    requests, _ = _once(requests, [], state)
    if not requests:
        return None
    name = f"{parent}/{as_text(agent.record.get('agent_id'), f'{agent.place}.agent_id')}"
    calls = list(_calls(requests, size, {}, {}, state))
    return make_program(state.unique(name), calls, state, shared_prefix=_prefix(agent.record, agent.place))


def _prefix(agent: dict[str, Any], place: str) -> SharedPrefix | None:
    tools = as_count(agent.get("tool_tokens") or 0, f"{place}.tool_tokens")
    system = as_count(agent.get("system_tokens") or 0, f"{place}.system_tokens")
    models = optional_array(agent.get("models"))
    if not tools + system:
        return None
    # Tools and instructions with the same lengths for the same model are taken to be the same.
    return SharedPrefix(f"{models[0] if models else 'model'}-{tools}-{system}", tools + system)


def _calls(
    requests: list[tuple[str, dict[str, Any]]],
    size: int,
    own: dict[str, Any],
    waits: Mapping[int, _Agent],
    state: ImportState,
) -> Iterator[Call]:
    before: tuple[Sequence[int], int, int] | None = None
    for index, (place, request) in enumerate(requests):
        prompt = as_count(request.get("in"), f"{place}.in", 1)
        output = as_count(request.get("out"), f"{place}.out")
        kept: int | None = None
        if hashes := whole(request.get("hash_ids")):
            ids = as_hash_ids(hashes, f"{place}.hash_ids", prompt, size)
            kept = kept_tokens(*before, ids, prompt, size) if before else None
            before = (ids, prompt, max(1, output))
        else:
            # Prompts shorter than a block have no hashes; others may have been recorded without.
            before = None
        tool, tool_s = "", 0.0
        if index + 1 < len(requests):
            tool, tool_s = _gap(place, request, *requests[index + 1], state)
            if index in waits and not own:
                tool_s = _own_time(tool_s, waits[index], state)
        yield own_call(Call(prompt, output, kept_tokens=kept, tool=tool, tool_s=tool_s), own, index, state)


def _gap(
    place: str, request: dict[str, Any], next_place: str, following: dict[str, Any], state: ImportState
) -> tuple[str, float]:
    kinds = {"tool_result": "tool", "text": "human"}
    types = [t for t in optional_array(following.get("input_types")) if isinstance(t, str)]
    names = {kinds.get(t, tool_name(t)) for t in types}
    tool = "mixed" if {"tool", "human"} <= names else joined(sorted(names)) or "unknown"
    if following.get("think_time") is not None:
        return tool, as_seconds(following["think_time"], f"{next_place}.think_time")
    gap = as_time(following.get("t"), f"{next_place}.t") - as_time(request.get("t"), f"{place}.t")
    if request.get("api_time") is None:
        state.note("gaps between the times of requests, the time for the request itself included")
        return tool, gap
    return tool, gap - as_seconds(request["api_time"], f"{place}.api_time")


def _own_time(gap_s: float, agent: _Agent, state: ImportState) -> float:
    """Return the part of a gap that remains without the sub-agent that ran in it."""
    duration_ms = agent.record.get("duration_ms")
    if duration_ms is None:
        state.note("gaps with a sub-agent of unknown duration, the parent's own part taken as 0 s")
        return 0.0
    return max(0.0, gap_s - as_seconds(duration_ms, f"{agent.place}.duration_ms", 1e3))


def _sniff(head: Head) -> float:
    if head.has("id", "block_size") and (head.has("requests") or "hash_ids" in head.names):
        return 1.0
    return 0.0


WEKA = Importer(
    name="weka",
    title="kv-cache-tester (Weka) conversations",
    source="github.com/callanjfox/kv-cache-tester: docs/trace_replay_tester.md",
    patterns=("*.json", "*.jsonl"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: in, out",
        "tool_s: think_time of the request that follows (whole seconds in the published traces; human pauses included)",
    ),
    derived=(
        "kept_tokens: block hashes in common with the prompt before; the output counts as kept where all of them are",
        "tool: tool, human or mixed, from input_types",
        "shared_prefix: tool_tokens + system_tokens, for files with the same numbers and model",
        "children: started by the request before them, waited for by the one after, unless launched to run on",
    ),
    missing=("arrival_s", "names of tools"),
)
