"""Bailian: requests to Qwen models in Alibaba's cloud, one per line, with the hashes of their prompts' blocks.

Source: github.com/alibaba-edu/qwen-bailian-usagetraces-anon, README (its data specification): ``timestamp`` in
seconds, ``chat_id`` and ``parent_chat_id`` (-1 for the first request of a conversation), ``turn``, ``type``,
``input_length`` and ``hash_ids`` of the whole prompt in blocks of 16 tokens, ``output_length``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.fields import refuse
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.hashed_rows import USUAL_LINES, Line, Row, checked, conversation, read_line
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.prefixes import Prefixes
from continuum_sim.traces.importers.sources import Source, each_row_as
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program

BLOCK_SIZE: Final = 16
"""Tokens per block, according to the names of the published files (``qwen_traceA_blksz_16.jsonl``)."""


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    groups = Groups()
    prefixes = Prefixes()
    size = state.block_size or BLOCK_SIZE
    last: dict[Any, str] = {}  # by the chat that each conversation has ended with so far
    path, begun = Path(), 0
    for source, number, line in each_row_as(sources, state, read_line, USUAL_LINES):
        if source.path != path:
            path = source.path
            last.clear()  # chat ids are unique within a file only
        chat, parent = _chat(line, "chat_id"), _chat(line, "parent_chat_id")
        key = last.pop(parent, None)
        if key is None:
            key = str(begun)
            begun += 1
            if parent is not None and parent != -1:
                state.note("requests whose parent is not there, or has gone on otherwise, programs of their own")
        try:
            if not isinstance(line, Line):
                raise TraceError("the line is not an object, expected a JSON object")
            if chat is None:
                refuse("chat_id", line.chat_id, "a number or a string")
            last[chat] = key
            groups.add(key, [str(path), number, f"{source.stem}-{chat}", checked(line, size, 1.0)])
        except TraceError as error:
            groups.drop(key)  # without one of its turns it would be another conversation
            state.bad(error, source.path, number)
    for _, rows in groups:
        file, number, name, _ = rows[0]
        try:
            program = conversation(name, [Row(*row[3]) for row in rows], prefixes, state, BLOCK_SIZE)
        except TraceError as error:
            state.bad(TraceError(f"chat {name}: {error.detail}"), Path(file), number)
            continue
        yield program


def _chat(line: Any, name: str) -> int | str | None:
    value = getattr(line, name, None)
    return value if type(value) in (int, str) else None


def _sniff(head: Head) -> float:
    if not head.has("parent_chat_id"):
        return 0.0
    return 1.0 if head.has("input_length") or head.has("hash_ids") else 0.5


BAILIAN = Importer(
    name="bailian",
    title="Bailian (Qwen) requests with chat_id and parent_chat_id",
    source="github.com/alibaba-edu/qwen-bailian-usagetraces-anon: README.md",
    patterns=("*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: input_length, output_length",
        "arrival_s: timestamp of the first row",
        "which requests are one program: parent_chat_id",
    ),
    derived=(
        "tool_s: from one timestamp to the next, the time for the request itself included",
        "kept_tokens: block hashes in common with the prompt before; the output counts as kept where all of them are",
        "shared_prefix: block hashes in common with the first prompt that begins with the same block",
    ),
    missing=("names of tools: delay", "when a request ended"),
)
