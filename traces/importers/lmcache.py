"""LMCache's agent traces: one request per line with its time, its session, and prompt and answer as text.

Source: github.com/LMCache/lmcache-agent-trace: ``timestamp`` (in microseconds since 1970; in some of its folders in
seconds), ``input`` (the whole prompt), ``output``, ``session_id``; in ``claudecode`` also ``end_time``,
``input_tokens`` and ``output_tokens``. Rows are unordered.

A session may hold several conversations: in ``taubench`` an agent and a simulated user, each with its own prompts. A
request continues the prompt of its session that it shares most with, if it shares all of it or at least half
(what a compaction or an edit leaves); otherwise it begins a conversation, which is a program of its own.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, make_program
from continuum_sim.traces.importers.fields import as_count, as_instant, refuse
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, Stems, each_row
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program


class _Line(msgspec.Struct, gc=False):
    timestamp: Any = None
    end_time: Any = None
    input: Any = None
    output: Any = None
    session_id: Any = None
    input_tokens: Any = None
    output_tokens: Any = None


class _Turn(NamedTuple):
    """A request; prompt and answer as token ids, or as bytes if the file itself has token counts."""

    start_s: float
    end_s: float | None
    input_tokens: int
    output_tokens: int
    prompt: array[int]
    output: array[int]
    kept_tokens: int = 0


_LINES: Final = msgspec.json.Decoder(_Line)
_GOES_ON: Final = 0.5
"""Share of a prompt that a later one must begin with to continue it, unless it holds all of it."""


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    groups = Groups(by_time=True)
    stems = Stems()
    for source, number, line in each_row(sources, state, _LINES):
        try:
            if type(line) is not _Line:
                raise TraceError("the line is not an object, expected a JSON object")
            key = stems.row(source, number) if line.session_id is None else line.session_id
            if type(key) not in (str, int) or key == "":
                refuse("session_id", key, "a non-empty string")
            row = _row(line, state)
        except TraceError as error:
            state.bad(error, source.path, number)
            continue
        groups.add(str(key), [str(source.path), number, *row], row[0])
    zero_s: float | None = None
    for key, rows in groups:
        zero_s = rows[0][2] if zero_s is None else zero_s
        for number, turns in enumerate(_conversations(rows), 1):
            name = key if number == 1 else f"{key}/{number}"
            if number == 2:
                state.note("sessions with several conversations, a program for each")
            calls = list(_calls(turns, state))
            try:
                yield make_program(state.unique(name), calls, state, arrival_s=turns[0].start_s - zero_s)
            except TraceError as error:
                state.bad(TraceError(f"session {name}: {error.detail}"), Path(rows[0][0]))


def _row(line: _Line, state: ImportState) -> list[Any]:
    """Return ``[start s, end s, prompt tokens, output tokens, type of the arrays, prompt, output]``."""
    for name in ("input", "output"):
        if type(getattr(line, name)) is not str:
            refuse(name, getattr(line, name), "a string")
    end_s = None if line.end_time is None else as_instant(line.end_time, "end_time")
    times = [as_instant(line.timestamp, "timestamp"), end_s]
    if state.tokens is not None:
        prompt, output = (array("I", state.tokens.ids(text)) for text in (line.input, line.output))
        return [*times, max(1, len(prompt)), len(output), "I", prompt.tobytes(), output.tobytes()]
    if line.input_tokens is None or line.output_tokens is None:
        state.needed_tokens("input")
    counts = [as_count(line.input_tokens, "input_tokens", 1), as_count(line.output_tokens, "output_tokens")]
    return [*times, *counts, "B", *(text.encode("utf-8", "replace") for text in (line.input, line.output))]


def _conversations(rows: list[Any]) -> list[list[_Turn]]:
    """Split the requests of a session into conversations, in the order in which these began."""
    found: list[list[_Turn]] = []
    for _, _, start_s, end_s, input_tokens, output_tokens, kind, prompt, output in rows:
        turn = _Turn(start_s, end_s, input_tokens, output_tokens, array(kind, prompt), array(kind, output))
        best: list[_Turn] | None = None
        best_common = best_share = 0.0
        for turns in reversed(found):
            common = _common(turns[-1].prompt, turn.prompt)
            share = common / max(1, len(turns[-1].prompt))
            if (share == 1, common) > (best_share == 1, best_common):
                best, best_common, best_share = turns, common, share
        if best is None or best_share < _GOES_ON:
            found.append([turn])
            continue
        before = best[-1]
        kept = _common(before.prompt + before.output, turn.prompt)
        if kind == "B":
            kept = kept * input_tokens // max(1, len(turn.prompt))
        best.append(turn._replace(kept_tokens=min(kept, input_tokens, before.input_tokens + before.output_tokens)))
    return found


def _calls(turns: list[_Turn], state: ImportState) -> Iterator[Call]:
    for index, turn in enumerate(turns):
        gap_s = 0.0
        if index + 1 < len(turns):
            gap_s = turns[index + 1].start_s - (turn.start_s if turn.end_s is None else turn.end_s)
            if turn.end_s is None:
                state.note("gaps between starts, the time for the request itself included (no end_time)")
        kept = turn.kept_tokens if index else None
        yield Call(turn.input_tokens, turn.output_tokens, kept_tokens=kept, tool="client", tool_s=gap_s)


def _common(one: array[int], other: array[int]) -> int:
    """Return how many leading items two arrays share, by bisection: comparing slices is fast."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def _sniff(head: Head) -> float:
    if not head.has("timestamp", "input") or head.top & {"usage", "response", "messages", "type", "choices"}:
        return 0.0
    return 0.9 if head.has("output", "session_id") else 0.5 if head.has("output") else 0.0


LMCACHE = Importer(
    name="lmcache",
    title="LMCache's agent traces: prompts and answers as text, with time and session",
    source="github.com/LMCache/lmcache-agent-trace: miniswe, magagent, taubench, claudecode/parse_traces.py",
    patterns=("*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=("arrival_s: timestamp of a program's first request, from the earliest on",),
    derived=(
        "input_tokens and output_tokens: counted in the text with --tokenizer",
        "kept_tokens: leading tokens in common with the prompt and answer before",
        "which requests are one program: session_id; in a session, the prompt that it has most in common with",
        "tool_s: from one timestamp (or end_time) to the next",
    ),
    missing=("names of tools: client", "when a request ended, where there is no end_time", "shared_prefix"),
)
