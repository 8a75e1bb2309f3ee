"""Mooncake: one request a line, with the hashes of its prompt's blocks; with ``session_id``, turns of a conversation.

Source: github.com/kvcache-ai/Mooncake, ``FAST25-release`` (``timestamp`` in ms, ``input_length``, ``output_length``,
``hash_ids``; blocks of 512 tokens). Conversations are an extension of two readers that differ:

* NVIDIA Dynamo (github.com/ai-dynamo/dynamo, ``lib/mocker/src/loadgen/trace.rs``, ``from_mooncake``): every row has
  the whole prompt and its ``hash_ids``; ``delay`` is in ms after the turn before ended, else the difference of the
  timestamps.
* AIPerf (github.com/ai-dynamo/aiperf, ``src/aiperf/dataset/loader/mooncake_trace.py``): a row adds to the conversation
  (``context_mode`` ``deltas_without_responses``, its default): ``input_length`` and ``hash_ids`` are of what is new,
  and every response stays.

A row without ``context_mode`` is read in AIPerf's way if it has no hashes, or if no prompt of the conversation begins
with the block that the first one began with (as in AIPerf's ``docs/traces/inference-day-2026/dataset.jsonl``): whole
prompts would have at least the system prompt in common.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, make_program
from continuum_sim.traces.importers.fields import as_count, as_object, as_seconds, as_text, as_time, optional_object
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.own import OWN, own_parent, own_prefix, refined, with_own_children
from continuum_sim.traces.importers.prefixes import Prefixes, as_hash_ids, kept_tokens
from continuum_sim.traces.importers.session import Session
from continuum_sim.traces.importers.sources import Source, each_row
from continuum_sim.traces.schema import Program, SharedPrefix

BLOCK_SIZE: Final = 512
"""Tokens in a block of the published traces: a prompt of 40,160 tokens has 79 hashes (`synthetic_trace.jsonl`)."""

_FIELDS: Final = ("timestamp", "delay", "input_length", "output_length", "hash_ids", "context_mode", OWN)
_ALIASES: Final = {
    "input_tokens": "input_length",
    "output_tokens": "output_length",
    "created_time": "timestamp",
    "delay_ms": "delay",
}
"""Names that Dynamo's reader takes as well (``MooncakeRow`` in its ``data-gen`` crate)."""

_DELTAS: Final = "deltas_without_responses"


def _read(sources: Iterable[Source], session: Session) -> Iterator[Program]:
    prefixes = Prefixes()
    groups = Groups()
    for source, number, value in each_row(sources, session):
        key = value.get("session_id") if isinstance(value, dict) else None
        try:
            _check(value, session)
            if own_parent(value.get(OWN)):
                continue  # the program that started it brings it along
            if key is None:
                program = _program(f"{source.stem}-{number}", [value], prefixes, session)
            else:
                groups.add(as_text(key, "session_id"), [str(source.path), number, _needed(value)])
        except TraceError as error:
            if isinstance(key, str):
                groups.drop(key)  # a conversation with a turn missing would be another conversation
            session.bad(error, source.path, number)
            continue
        if key is None:
            yield program
    for name, rows in groups:
        try:
            program = _program(name, [row for _, _, row in rows], prefixes, session)
        except TraceError as error:
            session.bad(TraceError(f"session {name}: {error.detail}", path=rows[0][0], line=rows[0][1]), rows[0][0])
            continue
        yield program


def _needed(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in _FIELDS if name in row}


def _size(row: dict[str, Any], session: Session) -> int:
    own = row.get(OWN)
    size = own.get("block_size") if isinstance(own, dict) else None
    return as_count(size or session.block_size or BLOCK_SIZE, "block_size", 1)


def _check(value: Any, session: Session) -> None:
    """Check all that one row alone can have wrong, where its place is known; give other names their usual ones."""
    row = as_object(value, "the line")
    for other, name in _ALIASES.items():
        if other in row:
            row.setdefault(name, row.pop(other))
    for name in ("messages", "text_input", "payload"):
        if row.get("input_length") is None and row.get(name) is not None:
            raise TraceError(f"the row has {name} and no input_length, expected token counts")
    prompt = as_count(row.get("input_length"), "input_length", 0 if row.get("context_mode") == _DELTAS else 1)
    as_count(row.get("output_length"), "output_length")
    if row.get("hash_ids") is not None:
        as_hash_ids(row["hash_ids"], "hash_ids", prompt, _size(row, session))
    if row.get("timestamp") is not None:
        as_time(row["timestamp"], "timestamp", 1e3)
    if row.get("delay") is not None:
        as_seconds(row["delay"], "delay", 1e3)


def _program(name: str, rows: list[dict[str, Any]], prefixes: Prefixes, session: Session) -> Program:
    calls: list[Call] = []
    before: tuple[list[int], int, int] | None = None
    adding = _adds(rows, session)
    for index, row in enumerate(rows):
        size = _size(row, session)
        prompt, output, ids = row["input_length"], row["output_length"], row.get("hash_ids")
        prompt, output = as_count(prompt, "input_length"), max(1, as_count(output, "output_length"))
        kept: int | None = None
        deltas = row.get("context_mode") == _DELTAS or (row.get("context_mode") is None and (adding or ids is None))
        if calls and deltas:
            kept = calls[-1].input_tokens + calls[-1].output_tokens
            prompt += kept
        elif ids and before:
            kept = kept_tokens(*before, ids, prompt, size)
        before = (ids, prompt, output) if ids else None
        call = Call(prompt, output, kept_tokens=kept)
        if index + 1 < len(rows):
            call = Call(prompt, output, kept_tokens=kept, tool="delay", tool_s=_gap(row, rows[index + 1], session))
        calls.append(refined(call, row.get(OWN), OWN, session))
    first = rows[0]
    timestamp = first.get("timestamp")
    program = make_program(
        session.unique(name),
        calls,
        session,
        arrival_s=None if timestamp is None else _arrival(first, timestamp),
        shared_prefix=_prefix(first, calls[0].input_tokens, prefixes, session),
    )
    return with_own_children(program, optional_object(first.get(OWN)))


def _adds(rows: list[dict[str, Any]], session: Session) -> bool:
    """Whether the rows of a conversation that do not say so have the hashes of what they add, not of whole prompts."""
    hashed = [row for row in rows if row.get("hash_ids") and row.get("context_mode") is None]
    # A first block that is not full has another hash in a longer prompt.
    if len(hashed) < 2 or hashed[0]["input_length"] < _size(hashed[0], session):
        return False
    first = hashed[0]["hash_ids"][0]
    if any(row["hash_ids"][0] == first for row in hashed[1:]):
        return False
    session.note("conversations whose rows have no first block in common, read as adding to each other")
    return True


def _arrival(row: dict[str, Any], timestamp: Any) -> float | None:
    arrival_s = as_seconds(timestamp, "timestamp", 1e3)
    own = row.get(OWN)
    if isinstance(own, dict):
        if own.get("arrival_s") is None:
            return arrival_s or None  # our exporter writes 0 where a trace has no arrivals
        exact = as_seconds(own["arrival_s"], f"{OWN}.arrival_s")
        if abs(exact - arrival_s) <= 1e-9 * max(exact, 1.0):
            return exact
    return arrival_s


def _prefix(row: dict[str, Any], input_tokens: int, prefixes: Prefixes, session: Session) -> SharedPrefix | None:
    own = row.get(OWN)
    if isinstance(own, dict):
        return own_prefix(own)
    ids = row.get("hash_ids")
    return prefixes.of(ids, input_tokens, _size(row, session)) if ids else None


def _gap(row: dict[str, Any], following: dict[str, Any], session: Session) -> float:
    if following.get("delay") is not None:
        return as_seconds(following["delay"], "delay", 1e3)
    if following.get("timestamp") is not None and row.get("timestamp") is not None:
        session.note("gaps between timestamps, the time for the request itself included")
        return as_time(following["timestamp"], "timestamp", 1e3) - as_time(row["timestamp"], "timestamp", 1e3)
    session.note("turns without delay and timestamp, gap taken as 0 s")
    return 0.0


def _sniff(head: Head) -> float:
    if not head.has("input_length", "output_length"):
        return 0.7 if head.has("input_tokens", "output_tokens", "hash_ids") else 0.0
    return 0.95 if {"hash_ids", "timestamp", "session_id"} & head.top else 0.7


MOONCAKE = Importer(
    name="mooncake",
    title="Mooncake requests, also with session_id and delay",
    source="github.com/kvcache-ai/Mooncake: FAST25-release; github.com/ai-dynamo/dynamo: loadgen/trace.rs",
    patterns=("*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: input_length (where rows add to a conversation: what is new), output_length",
        "tool_s: delay",
        "arrival_s: timestamp of the first row",
    ),
    derived=(
        "kept_tokens: block hashes in common with the prompt before; the output counts as kept where all of them are",
        "shared_prefix: block hashes in common with the first prompt that begins with the same block",
    ),
    missing=("names of tools: delay", "which requests belong together, where there is no session_id: single turns"),
)
