"""TraceLab: one LLM round of a Claude Code or Codex session per line.

Source: github.com/uw-syfi/TraceLab, ``README.md`` (Data format) and ``docs/prompt_cache_accounting.md``:
``input_tokens_total`` = ``prefix_tokens`` (supplied by the provider's cache) + ``newly_append_tokens``;
``timing_events`` in order; ``tools`` with their times. Checked on its
``example_sessions/sanitized/round_trace.jsonl``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.fields import as_array, as_count, as_object, as_text, as_time, optional_array
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, each_row
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program

_INPUT: Final = ("user_message", "tool_result")
_OUTPUT: Final = ("text", "reasoning", "tool_call")


class _Round(NamedTuple):
    """What is kept of a row: times in seconds since 1970, or -1 if unknown."""

    prompt: int
    output: int
    cached: int
    asked: float
    """When the last of its input had arrived."""
    answered: float
    """When the last of its output had arrived."""
    from_user: bool
    tools: tuple[str, ...]


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    groups = Groups()
    path = Path()
    for source, number, value in each_row(sources, state):
        path = source.path
        key = value.get("session_id") if isinstance(value, dict) else None
        try:
            row = _round(value)
            name = as_text(key, "session_id")
        except TraceError as error:
            if isinstance(key, str):
                groups.drop(key)
            state.bad(error, source.path, number)
            continue
        # Sorted by the time of the request; rounds without one stay where they are.
        groups.add(name, list(row), row.asked)
    for name, rows in groups:
        rounds = [_Round._make([*row[:-1], tuple(row[-1])]) for row in rows]
        calls = [_call(one, rounds[i + 1] if i + 1 < len(rounds) else None, state) for i, one in enumerate(rounds)]
        try:
            arrival_s = rounds[0].asked if rounds[0].asked >= 0 else None
            program = make_program(state.unique(name), calls, state, arrival_s=arrival_s)
        except TraceError as error:
            state.bad(TraceError(f"session {name}: {error.detail}"), path)
            continue
        yield program


def _round(value: Any) -> _Round:
    row = as_object(value, "the line")
    prompt = as_count(row.get("input_tokens_total"), "input_tokens_total", 1)
    output = as_count(row.get("output_tokens"), "output_tokens")
    cached = min(prompt, as_count(row.get("prefix_tokens") or 0, "prefix_tokens"))
    asked = answered = -1.0
    from_user = False
    for index, item in enumerate(as_array(row.get("timing_events"), "timing_events")):
        event = as_object(item, f"timing_events[{index}]")
        kind = event.get("event_type")
        if event.get("timestamp") is None or kind not in _INPUT + _OUTPUT:
            continue
        at = as_time(event["timestamp"], f"timing_events[{index}].timestamp")
        from_user |= kind == "user_message"
        if kind in _INPUT:
            asked = max(asked, at)
        else:
            answered = max(answered, at)
    if asked < 0:
        asked = answered
    names = [tool.get("tool_name") for tool in optional_array(row.get("tools")) if isinstance(tool, dict)]
    return _Round(prompt, output, cached, asked, answered, from_user, tuple(n for n in names if isinstance(n, str)))


def _call(one: _Round, following: _Round | None, state: ImportState) -> Call:
    tool_s = None
    if following is not None:
        if one.answered >= 0 and following.asked >= 0:
            tool_s = following.asked - one.answered
        else:
            state.note("rounds without times, gap taken as 0 s")
    human = ("human",) if following is not None and following.from_user else ()
    return Call(one.prompt, one.output, cached_tokens=one.cached, tool=joined((*one.tools, *human)), tool_s=tool_s)


def _sniff(head: Head) -> float:
    return 1.0 if head.has("session_id", "input_tokens_total", "timing_events") else 0.0


TRACELAB = Importer(
    name="tracelab",
    title="TraceLab rounds of Claude Code and Codex",
    source="github.com/uw-syfi/TraceLab: README.md, docs/prompt_cache_accounting.md",
    patterns=("*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: input_tokens_total, output_tokens",
        "tool_s: from the last output of a round to the last input of the next (human pauses included)",
        "tool: names of the tools, and human where a user's message came",
        "arrival_s: when the input of the first round was there",
    ),
    derived=("kept_tokens: from prompt lengths; after a shorter prompt (compacted), prefix_tokens",),
    missing=("shared_prefix", "which session a sub-agent belongs to: programs of their own"),
)
