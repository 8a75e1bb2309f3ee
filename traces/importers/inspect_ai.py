"""Logs of Inspect (the evaluation framework): ``.json``, or ``.eval``, a zip archive with one file per sample.

Source: github.com/UKGovernmentBEIS/inspect_ai, ``src/inspect_ai/log/_log.py`` (``EvalLog``, ``EvalSample``),
``src/inspect_ai/event`` and ``src/inspect_ai/log/_recorders/eval.py``. One program per sample and epoch:

* an event ``model`` with ``output.usage`` is a call, from ``timestamp`` to ``completed`` (without ``completed``, in old
  logs, it was written at the end, and ``output.time`` is its duration). Providers differ in whether ``input_tokens``
  includes the cached part and ``output_tokens`` the reasoning: ``total_tokens`` shows it;
* answers of Inspect's own cache (``cache``: ``read``), failed calls and those of scorers are not turns;
* tools are events ``tool``. Calls inside one, or inside a ``subtask`` (given by spans, in old logs by events in the
  event), are a sub-agent's;
* ``compaction`` events, and ``input`` events where a person was asked.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from continuum_sim.traces.check import MAX_DEPTH
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.apart import settled_usage
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.archives import archived, is_archive
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.fields import as_count, as_seconds, as_text, as_time, refuse
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.usage import Usage
from continuum_sim.traces.importers.values import MAX_DOCUMENT_BYTES, reader
from continuum_sim.traces.schema import Program

_SCORER: Final = "~"
_NO_NUMBER: Final = re.compile(rb"(?<=[:\[,\s])(?:NaN|-?Infinity)(?=[,\]}\s])")
"""What Inspect writes for undefined scores, and JSON does not allow."""


class _Event(msgspec.Struct):
    event: Any = None
    timestamp: Any = None
    completed: Any = None
    output: msgspec.Raw = msgspec.Raw()
    events: msgspec.Raw = msgspec.Raw()
    function: Any = None
    id: Any = None
    span_id: Any = None
    parent_id: Any = None
    type: Any = None
    action: Any = None
    cache: Any = None
    model: Any = None


class _Output(msgspec.Struct):
    usage: Any = None
    time: Any = None


class _Sample(msgspec.Struct):
    id: Any = None
    epoch: Any = None
    events: list[_Event] | None = None


class _Log(msgspec.Struct):
    samples: list[msgspec.Raw] | None = None


_log, _sample, _output, _events = reader(_Log), reader(_Sample), reader(_Output), reader(list[_Event])


@dataclass(slots=True)
class _Call:
    start: float
    end: float
    usage: Usage
    compacted: bool


@dataclass(slots=True)
class _Agent:
    """The calls and tools of a sample's own agent or of a sub-agent."""

    parent: str = ""
    calls: list[_Call] = field(default_factory=list)
    tools: list[tuple[float, float, str]] = field(default_factory=list)
    humans: list[float] = field(default_factory=list)
    compacted: bool = False


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    for source in sources:
        for place, data in _samples(source, state):
            try:
                programs = _of_sample(_numbered(data, _sample), state)
            except TraceError as error:
                state.bad(TraceError(f"{place}: {error.detail}"), source.path)
                continue
            yield from programs


def _samples(source: Source, state: ImportState) -> Iterator[tuple[str, bytes | msgspec.Raw]]:
    """Yield every sample of a log with its place."""
    if is_archive(source.path):
        for name, size, data in archived(source.path):
            if source.on_read is not None:
                source.on_read(size)
            if name.startswith("samples/"):
                yield name, data
        return
    whole = bytearray()
    for _, line in source.lines():
        whole += line
        if len(whole) > MAX_DOCUMENT_BYTES:
            raise TraceError(f"over {MAX_DOCUMENT_BYTES >> 20} MiB of JSON", path=source.path)
    try:
        samples = _numbered(whole, _log).samples
        if samples is None:
            refuse("samples", None, "an array (a log of a run that was not finished has none)")
    except TraceError as error:
        state.bad(error, source.path)
        return
    del whole
    for number, sample in enumerate(samples):
        yield f"samples[{number}]", sample


def _numbered(data: Any, read: Any) -> Any:
    """Decode JSON that may contain NaN or infinities."""
    try:
        return read(data)
    except TraceError:
        changed, times = _NO_NUMBER.subn(b"null", data)
        if not times:
            raise
        return read(changed)


def _of_sample(sample: _Sample, state: ImportState) -> list[Program]:
    if type(sample.id) is not int:
        as_text(sample.id, "id")
    name = f"{sample.id}-{as_count(sample.epoch, 'epoch', 1)}"
    agents: dict[str, _Agent] = {}
    _Transcript(agents, state).take(sample.events or [], "")
    found = {key: agent for key, agent in agents.items() if agent.calls and key != _SCORER}
    if _SCORER in agents and agents[_SCORER].calls:
        state.note("calls of scorers, left out", len(agents[_SCORER].calls))
    if not found:
        state.note("samples without a call that has token counts, left out")
        return []
    apart: list[Program] = []
    main = "" if "" in found else next(iter(found))
    programs = [_program(name, main, found, state, apart, 0)]
    for key in [key for key in found if key not in ("", main) and found[key].parent not in found]:
        state.note("sub-agents that no turn started, imported as programs of their own")
        apart.append(_program(f"{name}/{key}", key, found, state, apart, 0))
    return programs + apart


class _Transcript:
    """Reads the events of a sample, and assigns each call and tool to its agent."""

    def __init__(self, agents: dict[str, _Agent], state: ImportState) -> None:
        self._agents, self._state = agents, state
        self._spans: dict[str, tuple[str, str]] = {}
        self._steps: list[str] = []

    def take(self, events: list[_Event], inside: str, depth: int = 0) -> None:
        """Process events nested in an event of the agent ``inside``, or at the top level."""
        if depth > MAX_DEPTH:
            raise TraceError(f"events are nested too deeply, expected at most {MAX_DEPTH} levels")
        for event in events:
            span = event.span_id if isinstance(event.span_id, str) else ""
            if event.event == "span_begin" and isinstance(event.id, str):
                parent = event.parent_id if isinstance(event.parent_id, str) else ""
                self._spans[event.id] = (parent, event.type if isinstance(event.type, str) else "")
            elif event.event == "step":  # used before spans
                if event.action == "begin":
                    self._steps.append(event.type if isinstance(event.type, str) else "")
                elif self._steps:
                    self._steps.pop()
            elif event.event == "model":
                self._model(event, self._owner(span, inside))
            elif event.event in ("tool", "subtask"):
                if event.event == "tool":
                    # A tool's event is in the tool's own span.
                    parent, kind = self._spans.get(span, ("", ""))
                    self._tool(event, self._owner(parent if kind == "tool" else span, inside))
                if _is_there(event.events):
                    self.take(_events(event.events), self._below(inside, f"{event.id or event.function}"), depth + 1)
            elif event.event == "compaction":
                self._agent(self._owner(span, inside)).compacted = True
            elif event.event == "input" and event.timestamp is not None:
                self._agent(self._owner(span, inside)).humans.append(as_time(event.timestamp, "timestamp of an input"))

    def _owner(self, span: str, inside: str) -> str:
        """Return the agent acting in a span: that of the innermost tool or subtask around it."""
        above: dict[str, str] = {}
        while span and span not in above:
            parent, above[span] = self._spans.get(span, ("", ""))
            span = parent
        if "scorer" in self._steps or {"scorer", "scorers"} & set(above.values()):
            return _SCORER
        for key in reversed([key for key, kind in above.items() if kind in ("tool", "subtask")]):
            inside = self._below(inside, key)
        return inside

    def _below(self, parent: str, key: str) -> str:
        if key not in self._agents:
            self._agents[key] = _Agent(parent if parent != key else "")
        return key

    def _agent(self, key: str) -> _Agent:
        return self._agents.setdefault(key, _Agent())

    def _model(self, event: _Event, key: str) -> None:
        output = _output(event.output) if _is_there(event.output) else _Output()
        if event.cache == "read":
            self._state.note("calls that Inspect's own cache answered, left out")
            return
        if output.usage is None:
            return
        agent = self._agent(key)
        usage = _usage(output.usage, event.model)
        at = as_time(event.timestamp, "timestamp of a model event")
        took = 0.0 if output.time is None else as_seconds(output.time, "output.time")
        if event.completed is None:
            start, end = at - took, at
        else:
            start, end = at, as_time(event.completed, "completed of a model event")
        agent.calls.append(_Call(start, end, usage, agent.compacted))
        agent.compacted = False

    def _tool(self, event: _Event, key: str) -> None:
        name = event.function if isinstance(event.function, str) else "tool"
        start = as_time(event.timestamp, "timestamp of a tool event")
        end = start if event.completed is None else as_time(event.completed, "completed of a tool event")
        self._agent(key).tools.append((start, end, name))


def _is_there(value: msgspec.Raw) -> bool:
    """Return True if a field holds more than ``null`` or ``[]``."""
    return len(memoryview(value)) > len(b"null")


def _usage(value: Any, model: Any) -> Usage:
    usage = value if isinstance(value, dict) else {}
    return settled_usage(
        usage.get("input_tokens"),
        usage.get("output_tokens"),
        read=usage.get("input_tokens_cache_read"),
        made=usage.get("input_tokens_cache_write"),
        reasoning=usage.get("reasoning_tokens"),
        total=usage.get("total_tokens"),
        cache_apart="anthropic" in model if isinstance(model, str) else False,
        place="usage",
    )


def _program(
    name: str, key: str, agents: dict[str, _Agent], state: ImportState, apart: list[Program], depth: int
) -> Program:
    """Make the program of an agent, including the sub-agents that its calls surround."""
    if depth > MAX_DEPTH:
        raise TraceError(f"sub-agents are nested too deeply, expected at most {MAX_DEPTH} levels")
    calls = sorted(agents[key].calls, key=lambda call: call.start)
    agents[key].tools.sort()
    agents[key].humans.sort()
    own = state.unique(name)
    started: list[Started] = []
    times: dict[int, tuple[float, float]] = {}
    for child, agent in agents.items():
        if agent.parent != key or child == key:
            continue
        program = _program(f"{own}/{child}", child, agents, state, apart, depth + 1)
        first, last = min(call.start for call in agent.calls), max(call.end for call in agent.calls)
        after = sum(call.end <= first for call in calls) - 1
        if after < 0:
            state.note("sub-agents that no turn started, imported as programs of their own")
            apart.append(program)
            continue
        waited = after + 1 < len(calls) and calls[after + 1].start >= last
        started.append(Started(program, after, after + 1 if waited else None))
        if waited:
            times[after + 1] = (min(first, times.get(after + 1, (first, last))[0]), last)
    made = [_call(agents[key], calls, index, times.get(index + 1)) for index in range(len(calls))]
    return with_children(make_program(own, made, state, arrival_s=calls[0].start), started)


def _call(agent: _Agent, calls: list[_Call], index: int, child: tuple[float, float] | None) -> Call:
    """Make a call; if the next one waits for a sub-agent, the gap is the time of the tools without it."""
    one = calls[index]
    names: list[str] = []
    gap_s = 0.0
    if index + 1 < len(calls):
        until = calls[index + 1].start
        first, last = (bisect_left(agent.tools, (at,)) for at in (one.start, until))
        tools = agent.tools[first:last]
        names = [name for _, _, name in tools]
        names += ["human"] if bisect_left(agent.humans, one.end) < bisect_right(agent.humans, until) else []
        gap_s = until - one.end
        if child is not None:
            own = [end for start, end, _ in tools if not (start <= child[0] and child[1] <= end)]
            gap_s = max(0.0, max(own, default=one.end) - one.end)
    return Call(
        one.usage.input_tokens,
        one.usage.output_tokens,
        cached_tokens=one.usage.cached_tokens,
        compacted=one.compacted,
        tool=joined(names) or "client",
        tool_s=gap_s,
    )


def _sniff(head: Head) -> float:
    if head.has("version", "eval") and {"run_id", "task"} <= head.names:
        return 1.0
    return 0.7 if head.has("id", "epoch", "input") and {"target", "messages"} & head.names else 0.0


INSPECT_AI = Importer(
    name="inspect-ai",
    title="Inspect logs (.eval, .json)",
    source="github.com/UKGovernmentBEIS/inspect_ai: src/inspect_ai/log/_log.py, src/inspect_ai/event",
    patterns=("*.eval", "*.json"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: usage of every model event, cached part and reasoning included",
        "tool_s: from the end of a call to the start of the next",
        "tool: functions called in between, several joined by +, and human where a person was asked",
        "arrival_s: start of a sample's first call, from the earliest on",
    ),
    derived=(
        "kept_tokens: from prompt lengths; after a compaction or a shorter prompt, input_tokens_cache_read",
        "children: calls inside a tool or a subtask, from the call before to the one after",
    ),
    missing=("shared_prefix", "calls of scorers and of Inspect's cache"),
)
