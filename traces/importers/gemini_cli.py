"""Gemini CLI sessions, and those of Qwen Code, which began as a copy of it: one session a file.

Source: github.com/google-gemini/gemini-cli, ``packages/core/src/services/chatRecordingTypes.ts`` and
``chatRecordingService.ts`` (``~/.gemini/tmp/*/chats/session-*.json``, one document with ``messages``, and since 2026
``.jsonl``, one record a line), and github.com/QwenLM/qwen-code, ``packages/core/src/services/chatRecordingService.ts``
(``~/.qwen/projects/*/chats/*.jsonl``):

* Gemini CLI: a message of type ``gemini`` with ``tokens`` is a response, written when it was there. ``input`` is the
  whole prompt (``tool`` beside it), ``thoughts`` are beside ``output`` and are not sent back. A message is written
  anew, under its ``id``, when it gains tokens or ``toolCalls``; a call's own ``timestamp`` is when it had ended.
  ``$set`` holds changes, ``$rewindTo`` the message to which a person went back. Sub-agents are files in a folder named
  after their parent; the parent's tool call names them (``agentId``);
* Qwen Code: a record of type ``assistant`` with ``usageMetadata`` is a response; whether thoughts are in
  ``candidatesTokenCount`` is told by ``totalTokenCount``. ``tool_result`` records say when tools had ended. A branch
  (``forkedFrom``) repeats the records of its parent; sub-agents have ``isSidechain`` and ``agentId``; compression is a
  ``system`` record.

A message that several files have was served once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.gemini_records import Conversation, Log, Response, read_record
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.session import Session
from continuum_sim.traces.importers.sources import Source, each_row_as
from continuum_sim.traces.importers.zero import from_the_earliest
from continuum_sim.traces.schema import Program

_AT_START = float("-inf")
_conversation = msgspec.msgpack.Decoder(Conversation)


def _read(sources: Iterable[Source], session: Session) -> Iterator[Program]:
    return from_the_earliest(_programs(sources, session))


def _programs(sources: Iterable[Source], session: Session) -> Iterator[Program]:
    families = Groups(by_time=True)
    originals: set[str] = set()
    path = Path()
    for source in sources:
        path, skipped, log = source.path, session.skipped, Log(source)
        for _, number, record in each_row_as([source], session, read_record):
            try:
                log.take(record)
            except TraceError as error:
                session.bad(error, path, number)
                break
        if session.skipped > skipped:
            session.note("sessions with a bad record, left out")
            continue
        if not log.found():
            session.bad(TraceError("no response with token counts in it, expected at least one"), path)
            continue
        for one in log.found():
            originals.update(response.id for response in one.responses if not response.copied)
            row = msgspec.msgpack.encode(one)
            families.add(one.parent or one.name, row, _AT_START if one.start is None else one.start)
    seen: set[str] = set()
    for _, rows in families:
        members = [_conversation.decode(row) for row in rows]
        for one in members:
            own = [r for r in one.responses if r.id not in seen and not (r.copied and r.id in originals)]
            seen.update(r.id for r in own)
            if own and own[0] is not one.responses[0]:
                # A branch begins when a person went on from what it repeats.
                before = one.responses[one.responses.index(own[0]) - 1]
                one.start = before.human if before.human is not None else own[0].answered
            if len(own) < len(one.responses):
                times = len(one.responses) - len(own)
                session.note("responses that several sessions have (forked or copied), taken once", times)
            one.responses = own
        try:
            programs = _family([one for one in members if one.responses], session)
        except TraceError as error:
            session.bad(TraceError(f"session {members[0].name}: {error.detail}"), path)
            continue
        yield from programs


def _family(members: list[Conversation], session: Session) -> list[Program]:
    """Return a session's program with its sub-agents in it, and those that nothing ties to a turn."""
    main = next((one for one in members if not one.parent), None)
    apart = [one for one in members if not one.parent and one is not main]
    found: list[tuple[Conversation, int, int | None]] = []
    for one in members:
        if not one.parent:
            continue
        after = _after(main, one) if main else -1
        if main is None or after < 0:
            session.note("sub-agents that no turn is known to have started, imported as programs of their own")
            apart.append(one)
            continue
        last, following = one.responses[-1].answered, main.responses[after + 1 : after + 2]
        heard = max(main.responses[after].ended, default=None)
        waited = bool(following) and (last is None or heard is None or heard >= last)
        found.append((one, after, after + 1 if waited else None))
    programs: list[Program] = []
    if main is not None:
        name = session.unique(main.name)
        started = [Started(_program(one, f"{name}/{one.name}", session, {}), at, join) for one, at, join in found]
        ends = {join: one.responses[-1].answered for one, _, join in found if join is not None}
        programs.append(with_children(_program(main, name, session, ends), started))
    return programs + [
        _program(one, session.unique(f"{one.parent}/{one.name}" if one.parent else one.name), session, {})
        for one in apart
    ]


def _after(main: Conversation, child: Conversation) -> int:
    """Return the response that started a sub-agent: the one whose tool names it, else the last one before it."""
    named = next((i for i, one in enumerate(main.responses) if child.name in one.agents), None)
    if named is not None or child.start is None:
        return -1 if named is None else named
    return sum(one.answered is not None and one.answered <= child.start for one in main.responses) - 1


def _program(one: Conversation, name: str, session: Session, ends: dict[int, float | None]) -> Program:
    responses = one.responses
    calls = [
        _call(responses, index, index + 1 in ends, ends.get(index + 1), session) for index in range(len(responses))
    ]
    return make_program(name, calls, session, arrival_s=one.start)


def _call(responses: list[Response], index: int, waits: bool, child_ended: float | None, session: Session) -> Call:
    """Make the call of a response; where the next one waits for a sub-agent, the gap is what other tools took."""
    one = responses[index]
    gap_s: float | None = None
    if index + 1 < len(responses):
        until = max([*one.ended, *([] if one.human is None else [one.human])], default=None)
        if waits:
            own = [at for at in one.ended if child_ended is not None and at < child_ended]
            gap_s = 0.0 if one.answered is None else max(0.0, max(own, default=one.answered) - one.answered)
        elif until is not None and one.answered is not None:
            gap_s = until - one.answered
        else:
            session.note("responses without times around them, gap taken as 0 s")
    kept = None
    if one.after is not None and index:
        before = next((other for other in responses[:index] if other.id == one.after), None)
        kept = 0 if before is None else before.prompt + (0 if before.thoughts else before.output)
        kept = min(kept, one.prompt, responses[index - 1].prompt + max(1, responses[index - 1].output))
        session.note("turns after going back in the conversation, which keep what both branches have in common")
    return Call(
        one.prompt,
        one.output,
        kept_tokens=kept,
        cached_tokens=one.cached,
        compacted=one.compacted,
        output_dropped=one.thoughts > 0,
        tool=joined([*one.names, *(("human",) if one.human is not None else ())]) or "client",
        tool_s=gap_s,
    )


def _sniff(head: Head) -> float:
    if head.has("sessionId", "projectHash"):
        return 1.0
    return 1.0 if head.has("sessionId", "uuid") and "usageMetadata" in head.names else 0.0


GEMINI_CLI = Importer(
    name="gemini-cli",
    title="Gemini CLI and Qwen Code sessions",
    source="github.com/google-gemini/gemini-cli, github.com/QwenLM/qwen-code: services/chatRecordingService.ts",
    patterns=("*.json", "*.jsonl"),
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
