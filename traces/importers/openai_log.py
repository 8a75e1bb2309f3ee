"""Logs of OpenAI-compatible requests: one call a line, request and response.

Source: the request (``messages``) and response (``id``, ``created``, ``usage``) are OpenAI's chat completion objects
(github.com/openai/openai-python, ``src/openai/types/chat/chat_completion.py``, ``types/completion_usage.py``), as
vLLM serves them too. How a log wraps them is up to whoever writes it, so this much is read: ``request`` (or ``body``)
and ``response`` (or ``response.body``, as in OpenAI's batch output), or their fields on the line itself;
``start_time`` and ``end_time`` (seconds since 1970, or ISO 8601), else ``created`` as the start; ``session_id`` if
calls have one.

Without ``session_id`` a call goes on from an earlier one if its messages begin with all messages of that one: exact,
as that is what an agent sends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.chat import system_prefix
from continuum_sim.traces.importers.fields import as_object, as_text, as_time, optional_array, optional_object
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.session import Session
from continuum_sim.traces.importers.sources import Source, each_row
from continuum_sim.traces.importers.usage import REASONING, read_usage
from continuum_sim.traces.schema import Program, SharedPrefix


def _read(sources: Iterable[Source], session: Session) -> Iterator[Program]:
    groups = Groups(by_time=True)
    chains = _Chains()
    path = Path()
    place, on_line = "", 0
    for source, number, value in each_row(sources, session):
        path = source.path
        before, place = place, f"{source.stem}-{number}"
        on_line = on_line + 1 if place == before else 1  # an array may have many calls on one line
        name = place if on_line == 1 else f"{place}.{on_line}"
        try:
            key, row = _row(value, name, chains, session)
        except TraceError as error:
            session.bad(error, source.path, number)
            continue
        groups.add(key, row, row[0])
    zero: float | None = None
    for key, rows in groups:
        zero = rows[0][0] if zero is None else zero
        arrival_s = rows[0][0] - zero if rows[0][0] > float("-inf") and zero > float("-inf") else None
        prefix = SharedPrefix(*rows[0][-1]) if rows[0][-1] else None
        try:
            calls = list(_calls(rows, session))
            program = make_program(session.unique(key), calls, session, arrival_s=arrival_s, shared_prefix=prefix)
        except TraceError as error:
            session.bad(TraceError(f"session {key}: {error.detail}"), path)
            continue
        yield program


class _Chains:
    """Conversations known by a hash of all messages of their last call."""

    def __init__(self) -> None:
        self._of: dict[bytes, str] = {}

    def follow(self, messages: list[Any], new: str) -> str:
        """Return the conversation that these messages go on from, or begin ``new``."""
        digest = hashlib.blake2b(digest_size=16)
        found = None
        for message in messages:
            digest.update(hashlib.blake2b(msgspec.json.encode(message, order="sorted"), digest_size=16).digest())
            found = self._of.get(digest.digest(), found)
        name = found or new
        self._of[digest.digest()] = name
        return name


def _row(value: Any, default: str, chains: _Chains, session: Session) -> tuple[str, list[Any]]:
    """Return the conversation and ``[start s, end s, prompt, output, cached, dropped, tools, shared prefix]``."""
    record = as_object(value, "the line")
    response = optional_object(record.get("response")) or record
    response = optional_object(response.get("body")) or response
    request = optional_object(record.get("request")) or optional_object(record.get("body")) or record
    usage = read_usage(response.get("usage"), "response.usage")
    messages = optional_array(request.get("messages"))
    created = response.get("created")
    start = record.get("start_time", record.get("timestamp", created))
    start_s = float("-inf") if start is None else as_time(start, "start_time")
    end = record.get("end_time")
    end_s = float("-inf") if end is None else as_time(end, "end_time")
    if record.get("session_id") is not None:
        key = as_text(record["session_id"], "session_id")
    else:
        key = chains.follow(messages, default) if messages else default
    prefix = system_prefix(messages, session)
    return key, [
        start_s,
        end_s,
        usage.input_tokens,
        usage.output_tokens,
        usage.cached_tokens,
        bool(usage.reasoning_tokens) and not _shows_reasoning(response),
        _tools(response),
        [prefix.id, prefix.tokens] if prefix else None,
    ]


def _shows_reasoning(response: dict[str, Any]) -> bool:
    """Whether the answer holds its reasoning, as some servers other than OpenAI's do: a client may send it back."""
    messages = (
        optional_object(optional_object(choice).get("message")) for choice in optional_array(response.get("choices"))
    )
    return any(message.get(name) for message in messages for name in REASONING)


def _tools(response: dict[str, Any]) -> str:
    names: list[str] = []
    for choice in optional_array(response.get("choices")):
        message = optional_object(optional_object(choice).get("message"))
        for call in optional_array(message.get("tool_calls")):
            name = optional_object(optional_object(call).get("function")).get("name")
            if isinstance(name, str):
                names.append(name)
    return joined(names)


def _calls(rows: list[Any], session: Session) -> Iterator[Call]:
    for index, (start, end, prompt, output, cached, dropped, tool, _) in enumerate(rows):
        gap_s = 0.0
        if index + 1 < len(rows):
            following = rows[index + 1][0]
            if following == float("-inf") or max(start, end) == float("-inf"):
                session.note("calls without times, gap taken as 0 s")
            elif end == float("-inf"):
                session.note("gaps between starts, the time for the request itself included (no end_time)")
                gap_s = following - start
            else:
                gap_s = following - end
        yield Call(prompt, output, cached_tokens=cached, output_dropped=dropped, tool=tool or "client", tool_s=gap_s)


def _sniff(head: Head) -> float:
    if "usage" not in head.names or head.has("trajectory") or "mini_version" in head.names or head.has("sessionId"):
        return 0.0
    if head.has("response") and (head.has("request") or head.has("custom_id")):
        return 0.9
    return 0.7 if head.has("usage") and head.top & {"messages", "choices"} else 0.0


OPENAI_LOG = Importer(
    name="openai-log",
    title="logs of OpenAI-compatible requests and responses",
    source="github.com/openai/openai-python: src/openai/types/chat/chat_completion.py, types/completion_usage.py",
    patterns=("*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: usage",
        "tool_s: from end_time to the next start_time",
        "tool: names of the tool calls, several joined by +",
        "arrival_s: start of a program's first call, from the earliest on",
    ),
    derived=(
        "which calls are one program: session_id, else messages that begin with all of an earlier call's",
        "kept_tokens: from prompt lengths and reasoning_tokens (hidden reasoning breaks the prefix); after a shorter "
        "prompt, cached_tokens",
        "shared_prefix: the system prompt, counted with --tokenizer",
    ),
    missing=("shared_prefix without --tokenizer",),
)
