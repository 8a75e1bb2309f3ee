"""Gemini CLI sessions, and those of Qwen Code, its fork: one session per file.

Source: github.com/google-gemini/gemini-cli, ``packages/core/src/services/chatRecordingTypes.ts`` and
``chatRecordingService.ts`` (``~/.gemini/tmp/*/chats/session-*.json``, one document with ``messages``, and since 2026
``.jsonl``, one record a line), and github.com/QwenLM/qwen-code, ``packages/core/src/services/chatRecordingService.ts``
(``~/.qwen/projects/*/chats/*.jsonl``):

* Gemini CLI: a message of type ``gemini`` with ``tokens`` is a response, written when it was complete. ``input`` is the
  whole prompt (``tool`` is apart), ``thoughts`` are apart from ``output`` and not sent back. A message is written
  again, under its ``id``, when it gains tokens or ``toolCalls``; a call's own ``timestamp`` is when it ended.
  ``$set`` holds changes, ``$rewindTo`` the message to which a person went back. Sub-agents are files in a folder named
  after their parent; the parent's tool call names them (``agentId``);
* Qwen Code: a record of type ``assistant`` with ``usageMetadata`` is a response; ``totalTokenCount`` shows whether
  ``candidatesTokenCount`` includes thoughts. ``tool_result`` records say when tools ended. A branch
  (``forkedFrom``) repeats the records of its parent; sub-agents have ``isSidechain`` and ``agentId``; compression is a
  ``system`` record.

A message in several files was served once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.conversations import Conversations
from continuum_sim.traces.importers.gemini_records import Log, read_record
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, each_row_as
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    conversations = Conversations()
    path = Path()
    for source in sources:
        path, skipped, log = source.path, state.skipped, Log(source)
        for _, number, record in each_row_as([source], state, read_record):
            try:
                log.take(record)
            except TraceError as error:
                state.bad(error, path, number)
                break
        if state.skipped > skipped:
            state.note("sessions with a bad record, left out")
            continue
        found = log.found()
        if not found:
            state.bad(TraceError("no response with token counts in it, expected at least one"), path)
        for one in found:
            conversations.add(one)
    yield from conversations.programs(state, path)


def _sniff(head: Head) -> float:
    if head.has("sessionId", "projectHash"):
        return 1.0
    return 1.0 if head.has("sessionId", "uuid") and "usageMetadata" in head.names else 0.0


GEMINI_CLI = Importer(
    name="gemini-cli",
    title="Gemini CLI and Qwen Code sessions",
    source="github.com/google-gemini/gemini-cli, github.com/QwenLM/qwen-code: services/chatRecordingService.ts",
    patterns=("session-*.json", "*.jsonl"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: counts of every response, cached part and thoughts included",
        "tool_s: from a response to the end of its last tool, or to the next message of a person",
        "tool: names of the tools, several joined by +, and human where a user's message came",
        "arrival_s: a session's first message, from the earliest on",
    ),
    derived=(
        "kept_tokens: from prompt lengths and thoughts, which are not sent back; after a compression or a shorter "
        "prompt, what the cache gave; after going back to an earlier message, what was there by then",
        "children: from the tool call that names a sub-agent, else by time, to the next response",
    ),
    missing=("shared_prefix",),
)
