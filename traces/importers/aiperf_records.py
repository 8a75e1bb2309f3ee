"""AIPerf's records of a run, one request per line: what its lanes sent during warm-up and measurement.

Source: github.com/ai-dynamo/aiperf, ``src/aiperf/common/models/record_models.py`` (``MetricRecordMetadata``) and
``docs/tutorials/working-with-profile-exports.md``; of AgentX runs, github.com/SemiAnalysisAI/agentx-harness,
``docs/tutorials/agentx-mvp.md`` and ``docs/benchmark-modes/semianalysis-agentx-faq.md``. ``profile_export.jsonl`` holds
``metadata`` and ``metrics`` of every request. A lane plays one session after the other, each with its sub-agents:
``x_correlation_id`` names the session, ``parent_correlation_id`` the one that started it, ``root_correlation_id`` the
outermost. ``benchmark_phase`` is ``warmup`` until the measured window opens: a session that has begun by then is primed
by a warm-up request, which is its first turn here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from continuum_sim.traces.check import MAX_DEPTH
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, make_program
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.fields import as_count, as_object, as_text, optional_object, refuse
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, each_row
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program

_NANOSECONDS: Final = 1e9
_PROMPTS: Final = ("usage_prompt_tokens", "input_sequence_length")
_ANSWERS: Final = ("usage_completion_tokens", "output_sequence_length", "output_token_count")
"""The server's counts, then the client's."""


class _Line(msgspec.Struct, gc=False):
    metadata: Any = None
    metrics: Any = None
    error: Any = None


class _Record(msgspec.Struct, array_like=True, gc=False):
    """One request of a session."""

    session: str
    parent: str
    start_ns: int
    end_ns: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    warm_up: bool


_LINES: Final = msgspec.json.Decoder(_Line)


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    trees = Groups(by_time=True)
    for source, number, line in each_row(sources, state, _LINES):
        try:
            if type(line) is not _Line:
                raise TraceError("the line is not an object, expected a JSON object")
            metadata = as_object(line.metadata, "metadata")
            if line.error is not None or metadata.get("was_cancelled") or metadata.get("context_overflow_skip"):
                state.note("calls that failed, left out")
                continue
            record = _record(metadata, as_object(line.metrics, "metrics"))
            root = metadata.get("root_correlation_id") or record.session
            trees.add(
                as_text(root, "metadata.root_correlation_id"), [str(source.path), number, record], record.start_ns
            )
        except TraceError as error:
            state.bad(error, source.path, number)
    zero_ns: int | None = None
    for root, rows in trees:
        records = [_Record(*row) for _, _, row in rows]
        zero_ns = records[0].start_ns if zero_ns is None else zero_ns
        warm_up = sum(record.warm_up for record in records)
        if warm_up:
            state.note("requests of the warm-up, before the measured window", warm_up)
        try:
            programs = _family(root, records, zero_ns, state)
        except TraceError as error:
            state.bad(TraceError(f"session {root}: {error.detail}", line=rows[0][1]), Path(rows[0][0]))
            continue
        yield from programs


def _record(metadata: dict[str, Any], metrics: dict[str, Any]) -> _Record:
    name = metadata.get("x_correlation_id") or metadata.get("conversation_id")
    if name is None and metadata.get("session_num") is not None:
        name = str(metadata["session_num"])
    parent = metadata.get("parent_correlation_id")
    return _Record(
        session=as_text(name, "metadata.x_correlation_id"),
        parent="" if parent is None else as_text(parent, "metadata.parent_correlation_id"),
        start_ns=_ns(metadata, "request_start_ns"),
        end_ns=_ns(metadata, "request_end_ns"),
        input_tokens=_count(metrics, _PROMPTS, 1),
        output_tokens=_count(metrics, _ANSWERS, 0),
        cached_tokens=_count(metrics, ("usage_prompt_cache_read_tokens",), 0, 0),
        warm_up=metadata.get("benchmark_phase", metadata.get("credit_phase")) == "warmup",
    )


def _ns(metadata: dict[str, Any], name: str) -> int:
    value = metadata.get(name)
    if type(value) is not int or not 0 <= value < 2**63:
        refuse(f"metadata.{name}", value, "nanoseconds since 1970")
    return int(value)


def _count(metrics: dict[str, Any], names: tuple[str, ...], low: int, default: int | None = None) -> int:
    for name in names:
        value = metrics.get(name)
        value = optional_object(value).get("value") if isinstance(value, dict) else value
        if value is not None:
            return as_count(value, f"metrics.{name}", low)
    if default is None:
        raise TraceError(f"metrics has neither {' nor '.join(names)}, expected one of them")
    return default


def _family(root: str, records: list[_Record], zero_ns: int, state: ImportState) -> list[Program]:
    """Return the programs of one session and its sub-agents."""
    by_name: dict[str, list[_Record]] = {}
    for record in records:
        by_name.setdefault(record.session, []).append(record)
    parents = {name: own[0].parent for name, own in by_name.items()}
    apart: list[Program] = []

    def made(name: str, depth: int) -> Program:
        if depth > MAX_DEPTH:
            raise TraceError(f"sub-agents are nested too deeply, expected at most {MAX_DEPTH} levels")
        own = by_name[name]
        started: list[Started] = []
        for child, parent in parents.items():
            if parent != name or child == name:
                continue
            first_ns, last_ns = by_name[child][0].start_ns, max(record.end_ns for record in by_name[child])
            after = sum(record.end_ns <= first_ns for record in own) - 1
            join = next((i for i, record in enumerate(own) if i > after and record.start_ns >= last_ns), None)
            program = made(child, depth + 1)
            if after < 0:
                state.note("sub-agents that no turn started, imported as programs of their own")
                apart.append(program)
            else:
                started.append(Started(program, after, join))
        waits = {one.join_turn for one in started if one.join_turn is not None}
        calls = [_call(own, index, waits) for index in range(len(own))]
        unique = state.unique(root if name == root else f"{root}/{name}")
        program = make_program(unique, calls, state, arrival_s=max(0, own[0].start_ns - zero_ns) / _NANOSECONDS)
        return with_children(program, started)

    roots = [name for name, parent in parents.items() if parent not in by_name or parent == name]
    return [made(name, 0) for name in roots] + apart


def _call(own: list[_Record], index: int, waits: set[int]) -> Call:
    """Return one turn; if the next one waits for sub-agents, the time of the session's own tools is unknown."""
    one = own[index]
    gap_s: float | None = 0.0
    if index + 1 < len(own):
        gap_s = None if index + 1 in waits else (own[index + 1].start_ns - one.end_ns) / _NANOSECONDS
    return Call(one.input_tokens, one.output_tokens, cached_tokens=one.cached_tokens, tool="delay", tool_s=gap_s)


def _sniff(head: Head) -> float:
    if not head.has("metadata", "metrics"):
        return 0.0
    return 1.0 if {"benchmark_phase", "credit_phase", "x_correlation_id", "request_start_ns"} & head.names else 0.0


AIPERF_RECORDS = Importer(
    name="aiperf-records",
    title="AIPerf's records of a run (profile_export.jsonl), also of AgentX: lanes, warm-up and window",
    source="github.com/ai-dynamo/aiperf: src/aiperf/common/models/record_models.py; "
    "github.com/SemiAnalysisAI/agentx-harness: docs/tutorials/agentx-mvp.md",
    patterns=("*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: usage_prompt_tokens or input_sequence_length, usage_completion_tokens or "
        "output_sequence_length",
        "tool_s: from the end of a request to the start of the session's next one",
        "arrival_s: start of a session's first request, of the warm-up too, from the earliest on",
    ),
    derived=(
        "which requests are one program: x_correlation_id",
        "kept_tokens: from prompt lengths; after a shorter prompt, usage_prompt_cache_read_tokens",
        "children: sessions with a parent_correlation_id, started by the last request before them, waited for by the "
        "first after",
    ),
    missing=("names of tools: delay", "shared_prefix"),
)
