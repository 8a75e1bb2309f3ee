"""Codex CLI sessions: one rollout per file (``~/.codex/sessions/*/*/*/rollout-*.jsonl``), one record per line.

Source: github.com/openai/codex, ``codex-rs/protocol/src/protocol.rs`` (``RolloutLine``: ``timestamp``, ``type``,
``payload``; ``SessionMeta``, ``TokenUsageInfo``, ``SubAgentSource``), ``protocol/src/models.rs`` (``ResponseItem``) and
``rollout/src/policy.rs`` (what is written):

* every response ends with a ``token_count`` whose ``total_token_usage`` has grown; a repetition, or one without
  ``info``, does not count. ``input_tokens`` includes the cached part, ``output_tokens`` the reasoning;
* tools are called in some items (``function_call``, ``custom_tool_call``, ``local_shell_call``) and answered in others
  (``..._output``); a person speaks in ``user_message``;
* a compaction is a ``compacted`` record; the call that wrote the summary, if the client made it, is a turn;
* a session that continues another one (``forked_from_id``) repeats its records with new times. A response
  counts once over all files, in the session that began first;
* a sub-agent's ``source`` names the thread that started it (``subagent.thread_spawn.parent_thread_id``). It begins
  after the response before its start; the response after a ``wait`` during which it ended waited for it.

Rollouts from before ``token_count`` (2025) have text but no counts; they are refused.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from continuum_sim.traces.check import MAX_DEPTH
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.codex_records import WAITING, Response, Thread, read_record
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, each_row_as
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program

_NEVER = float("-inf")
_COPY_S = 1.0
"""A session that repeats another's records writes all of them within this time of its start."""


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    threads = Groups(by_time=True)
    lines = _Lines()
    path = Path()
    for source in sources:
        path = source.path
        thread = _thread(source, state)
        if thread is not None:
            key = lines.add(thread.thread_id or source.stem, thread)
            for one in thread.responses:
                threads.add(key, _packed(one), _NEVER if thread.start_s is None else thread.start_s)
            thread.responses.clear()
    first_s = min((at for at in lines.start_s.values() if at is not None), default=0.0)
    for _, members in _families(threads, lines, state):
        family = _Family(lines, {key: [_unpacked(row) for row in rows] for key, rows in members}, first_s, state)
        name = lines.names[members[0][0]]
        members.clear()
        try:
            programs = family.programs()
        except TraceError as error:
            state.bad(TraceError(f"session {name}: {error.detail}"), path)
            continue
        yield from programs


def _thread(source: Source, state: ImportState) -> Thread | None:
    """Return the rollout in a file, or None if something in it cannot be used."""
    thread, skipped = Thread(), state.skipped
    for _, number, (kind, at, payload) in each_row_as([source], state, read_record):
        try:
            thread.take(kind, at, payload)
        except TraceError as error:
            state.bad(error, source.path, number)
            break
    if state.skipped > skipped:
        state.note("sessions with a bad record, left out")
        return None
    if not thread.responses:
        detail = "no token_count event with counts in it, expected one a response (older versions of Codex wrote none)"
        state.bad(TraceError(detail), source.path)
        return None
    return thread


def _families(threads: Groups, lines: _Lines, state: ImportState) -> Groups:
    """Group the rollouts by family, each reduced to the responses that it alone has of its line."""
    families = Groups(by_time=True)
    for key, rows in threads:
        own = lines.own(key, rows)
        if len(own) < len(rows):
            state.note("responses that several sessions have (forked or copied), taken once", len(rows) - len(own))
        if own:
            start_s = lines.start_s[key]
            families.add(lines.root(key), [key, own], _NEVER if start_s is None else start_s)
    return families


class _Lines:
    """Which rollouts continue which others, and which are sub-agents of which."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.start_s: dict[str, float | None] = {}
        self.copies: set[str] = set()
        self._parents: dict[str, str] = {}
        self._of_thread: dict[str, str] = {}
        self._before: dict[str, str] = {}
        self._began: dict[tuple[Any, ...], str] = {}
        self._seen: dict[str, set[tuple[int, ...]]] = {}
        self._sharing: Counter[str] = Counter()

    def add(self, name: str, thread: Thread) -> str:
        """Add a rollout and return its name here, because a thread may be in several files."""
        key = f"{name}\0{len(self.names)}"
        self.names[key], self.start_s[key] = name, thread.start_s
        self._of_thread.setdefault(name, key)
        if thread.parent and thread.parent != name:
            self._parents[key] = thread.parent
        # Copies that do not name their original begin with the same responses.
        began = tuple(one.key for one in thread.responses[:2])
        line = self._line(name)
        others = [*thread.before, thread.parent] if thread.before else []
        if len(began) == 2:
            others.append(self._began.setdefault(began, line))
        for other in others:
            if other and self._line(other) != line:
                self._before[self._line(other)] = line
        if thread.before:
            self.copies.add(key)
        return key

    def own(self, key: str, rows: list[Any]) -> list[Any]:
        """Return the responses that no earlier session has had."""
        line = self._line(self.names[key])
        if not self._sharing:
            self._sharing = Counter(self._line(name) for name in self.names.values())
        if self._sharing[line] == 1:
            return rows
        seen = self._seen.setdefault(line, set())
        own = [row for row in rows if tuple(row[0]) not in seen]
        seen.update(tuple(row[0]) for row in rows)
        return own

    def parent(self, key: str) -> str:
        """Return the rollout of the agent that started this one, if it was read."""
        found = self._of_thread.get(self._parents.get(key, ""), "")
        return found if found != key else ""

    def root(self, key: str) -> str:
        """Return the rollout at the top of this one's family."""
        seen = {key}
        while (above := self.parent(key)) and above not in seen:
            seen.add(above)
            key = above
        return key

    def is_stray(self, key: str) -> bool:
        """Return True if it is a sub-agent of a thread that was not read."""
        return key in self._parents and not self.parent(key)

    def _line(self, name: str) -> str:
        seen = {name}
        while (above := self._before.get(name)) is not None and above not in seen:
            seen.add(above)
            name = above
        return name


class _Family:
    """The rollouts of an agent and its sub-agents."""

    def __init__(self, lines: _Lines, members: dict[str, list[Response]], first_s: float, state: ImportState) -> None:
        self._lines, self._members, self._first_s, self._state = lines, members, first_s, state
        self._apart: list[Program] = []
        self._left = set(members)

    def programs(self) -> list[Program]:
        """Return the programs: the agent's, including its sub-agents, and those not linked to a turn."""
        found: list[Program] = []
        for key in self._members:
            parent = self._lines.parent(key)
            if key in self._left and (parent not in self._members or self._lines.root(key) == key):
                if parent or self._lines.is_stray(key):
                    self._state.note("sub-agents without the session that started them, programs of their own")
                found.append(self._program(key, "", 0))
        # Agents that start each other in a circle.
        found.extend(self._program(key, "", MAX_DEPTH) for key in self._members if key in self._left)
        return found + self._apart

    def _program(self, key: str, above: str, depth: int) -> Program:
        self._left.discard(key)
        own, lines = self._members[key], self._lines
        name = self._state.unique(f"{above}/{lines.names[key]}" if above else lines.names[key])
        started: list[Started] = []
        for child in [one for one in self._members if one in self._left and lines.parent(one) == key]:
            if child not in self._left:
                continue
            if depth >= MAX_DEPTH:
                raise TraceError(f"sub-agents are nested too deeply, expected at most {MAX_DEPTH} levels")
            start_s = lines.start_s[child]
            after = -1
            if start_s is not None:
                after = sum(one.answered is not None and one.answered <= start_s for one in own) - 1
            program = self._program(child, name, depth + 1)
            if after < 0:
                self._state.note("sub-agents that no turn started, imported as programs of their own")
                self._apart.append(program)
                continue
            started.append(Started(program, after, _join(own, after, self._members[child][-1].answered)))
        waits = {one.join_turn for one in started if one.join_turn is not None}
        copied_s = lines.start_s[key] if key in lines.copies else None
        calls = [
            _call(one, index + 1 in waits, index == len(own) - 1, copied_s, self._state)
            for index, one in enumerate(own)
        ]
        start_s = lines.start_s[key]
        arrival_s = None if start_s is None else max(0.0, start_s - self._first_s)
        return with_children(make_program(name, calls, self._state, arrival_s=arrival_s), started)


def _join(own: list[Response], after: int, ended: float | None) -> int | None:
    """Return the turn that waited for a sub-agent: the one after a wait call during which it ended."""
    for index, one in enumerate(own[:-1]):
        if index < after or ended is None or one.asked is None or one.answered is None:
            continue
        if WAITING.intersection(one.names) and one.answered <= ended <= one.asked:
            return index + 1
    return None


def _call(one: Response, waits: bool, last: bool, copied_s: float | None, state: ImportState) -> Call:
    """Make the call of a response; if the next one waits for sub-agents, the gap is the time of the other tools."""
    names = [*one.names, *(("human",) if one.human else ())]
    gap_s: float | None = None
    until = one.asked_own if waits else one.asked
    if waits:
        gap_s = 0.0 if until is None or one.answered is None else max(0.0, until - one.answered)
    elif copied_s is not None and one.answered is not None and abs(one.answered - copied_s) <= _COPY_S:
        state.note("responses copied from a session that was not read, whose times are lost")
    elif until is not None and one.answered is not None:
        gap_s = until - one.answered
    elif not last:
        state.note("responses without times around them, gap taken as 0 s")
    return Call(
        one.prompt,
        one.output,
        cached_tokens=one.cached,
        compacted=one.compacted,
        tool=joined(names) or "client",
        tool_s=gap_s,
    )


def _packed(one: Response) -> list[Any]:
    return [getattr(one, name) for name in Response.__dataclass_fields__]


def _unpacked(row: list[Any]) -> Response:
    return Response(tuple(row[0]), *row[1:])


def _sniff(head: Head) -> float:
    if head.has("timestamp", "type", "payload"):
        return 1.0 if '"session_meta"' in head.text or '"response_item"' in head.text else 0.7
    return 0.6 if '"record_type":"state"' in head.text.replace(" ", "") else 0.0


CODEX = Importer(
    name="codex",
    title="Codex CLI sessions",
    source="github.com/openai/codex: codex-rs/protocol/src/protocol.rs, codex-rs/rollout/src/policy.rs",
    patterns=("rollout-*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: last_token_usage of every response, cached part and reasoning included",
        "tool_s: from the last item of a response to the last input of the next one (human pauses included)",
        "tool: names of the tools, several joined by +, and human where a user's message came",
        "arrival_s: start of a session, from the earliest on",
    ),
    derived=(
        "kept_tokens: from prompt lengths; after a compaction or a shorter prompt, cached_input_tokens",
        "children: from the response before a sub-agent's start to the one after a wait during which it ended",
    ),
    missing=("shared_prefix", "what a fork shares with the session that it goes on from"),
)
