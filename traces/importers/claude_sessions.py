"""Assemble Claude Code's files into conversations: files of sub-agents, and resumed or forked sessions.

A session that continues another one begins with copies of its records, under a new session id and in some versions
with new times, but with the same response ids (``message.id``). Sessions that share a response are one
conversation: each response counts once, and what each session adds follows what was there before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from msgspec import structs

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.claude_lines import Line, read_line
from continuum_sim.traces.importers.claude_parts import Agent, Part, Response
from continuum_sim.traces.importers.claude_records import Reader, check_results
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.sources import Source, each_item
from continuum_sim.traces.importers.state import ImportState

_NEVER: Final = float("inf")
PIECE: Final = 1000
"""Responses written to disk at once: a session may have tens of thousands."""
_COPIED_WITHIN_S: Final = 0.01
"""No model answers this fast."""


def read_conversations(sources: Iterable[Source], state: ImportState) -> Iterator[Part]:
    """Yield every conversation with its sub-agents, in the order of their first prompts."""
    groups = Groups(Part, by_time=True)
    seen: dict[int, tuple[str, float | None]] = {}
    """Response to the first session that has it, and its time there."""
    for main, files in _files(sources):
        _read_session(main, files, groups, seen, state)
    del seen  # about as large as what was read of a session
    for _, pieces in groups:
        yield _joined(_whole(pieces), state)


def _read_session(
    main: Source, files: Iterable[Source], groups: Groups, seen: dict[int, tuple[str, float | None]], state: ImportState
) -> None:
    """Read a session's files and add their contents to ``groups``, or nothing if a record is bad."""
    parts = _parts_of(main, files, state)
    if parts is None:
        state.note("sessions with a bad record, left out")
        return
    for part in parts:
        check_results(part, state)
        key = f"{main.path.parent}\0{part.name}" if part.name else str(main.path)
        try:
            _add(part, key, groups, seen)
        except TraceError as error:
            state.bad(error, main.path)


def _parts_of(main: Source, files: Iterable[Source], state: ImportState) -> list[Part] | None:
    """Return the contents of a session's files, or None if a record is bad; frees what reading needed."""
    readers = _Readers(main, state)
    broken = False
    for source in files:
        folder = source.path.parent
        run = folder.name if folder.parent.name == "workflows" else ""
        for number, item in each_item(source, state):
            try:
                readers.take(read_line(item), run, is_main=source is main)
            except TraceError as error:
                state.bad(error, source.path, number)
                broken = True
    return None if broken else list(readers.parts())


def _files(sources: Iterable[Source]) -> Iterator[tuple[Source, list[Source]]]:
    """Yield every session's file with those of its sub-agents (anywhere below ``SESSION/subagents``)."""
    sessions: list[Source] = []
    below: dict[Path, list[Source]] = {}
    for source in sources:
        folder = next((p.parent for p in source.path.parents if p.name == "subagents"), None)
        if folder is None:
            sessions.append(source)
        else:
            below.setdefault(folder, []).append(source)
    for source in sessions:
        yield source, [source, *below.pop(source.path.with_name(source.stem), [])]
    for rest in below.values():
        yield from ((source, [source]) for source in rest)


class _Readers:
    """The sessions in one file, nearly always one."""

    def __init__(self, main: Source, state: ImportState) -> None:
        self._main, self._state = main, state
        self._of: dict[str, Reader] = {}
        """By session id; several if a session continued under another id."""
        self._last: Reader | None = None

    def take(self, line: Line, run: str, *, is_main: bool) -> None:
        """Process a record; a message of another session that continues no known record begins a new session."""
        name, last = line.session, self._last
        reader = self._of.get(name) if name else last
        is_message = line.type in ("user", "assistant") and not line.is_sidechain
        begins = is_message or (line.type == "system" and line.subtype == "init")
        if reader is None and last is not None:
            if not is_main or not begins or last.knows(line.parent_uuid):
                reader = last
            elif not last.part.name:
                reader = last
                reader.part.name = name
        if reader is None:
            reader = Reader(Part(name, str(self._main.path)), self._state.tokens)
        if name and begins:
            self._of.setdefault(name, reader)
        if is_main or last is None:
            self._last = reader
        reader.take(line, run)

    def parts(self) -> Iterator[Part]:
        """Yield the parts with a response; a part without an id is named after the file."""
        readers = {id(one): one for one in (*self._of.values(), self._last) if one is not None}
        for reader in readers.values():
            part = reader.part
            part.name = part.name or self._main.stem
            part.agents = {key: agent for key, agent in part.agents.items() if agent.responses}
            if part.agents:
                yield part


def _add(part: Part, key: str, groups: Groups, seen: dict[int, tuple[str, float | None]]) -> None:
    began = min((agent.began for agent in part.agents.values() if agent.began is not None), default=_NEVER)
    for piece in _pieces(part):
        groups.add(key, piece, began)
    # Sub-agent responses shared by two files do not join the conversations that started them.
    main = part.agents.get("")
    for agent in part.agents.values() if main is None else [main]:
        for one in agent.responses:
            at = _own_time(one)
            first, written = seen.setdefault(hash(_identity(one)), (key, at))
            if first != key and (written is None or at is None or written == at):
                groups.join(first, key)


def _pieces(part: Part) -> Iterator[Part]:
    """Split a part: the first piece has everything except some of the responses, which the others have."""
    agents = part.agents
    first = {key: structs.replace(agent, responses=agent.responses[:PIECE]) for key, agent in agents.items()}
    yield structs.replace(part, agents=first)
    for key, agent in agents.items():
        for begin in range(PIECE, len(agent.responses), PIECE):
            more = {key: Agent(responses=agent.responses[begin : begin + PIECE])}
            yield Part(part.name, part.path, more, goes_on=True)


def _whole(pieces: list[Part]) -> list[Part]:
    """Rejoin the pieces of a part; empties ``pieces``."""
    parts: list[Part] = []
    for piece in pieces:
        if not piece.goes_on:
            parts.append(piece)
            continue
        for key, agent in piece.agents.items():
            parts[-1].agents[key].responses += agent.responses
    pieces.clear()
    return parts


def _identity(response: Response) -> tuple[int, int]:
    # The prompt's length is part of it, because sessions may reuse ids that are not Anthropic's.
    return response.id, response.input_tokens


def _own_time(response: Response) -> float | None:
    """Return when a response was written, or ``None`` if it has only the time of its copy and so took no time."""
    asked, first = response.asked, response.first
    return None if asked is None or first is None or first - asked < _COPIED_WITHIN_S else first


def _joined(parts: list[Part], state: ImportState) -> Part:
    """Join the parts of a conversation: first what was copied from, then the parts in order of what each adds.

    Empties ``parts``, because a conversation may be large.
    """
    if len(parts) == 1:
        return parts.pop()
    shared = Counter(_identity(one) for part in parts for agent in part.agents.values() for one in agent.responses)

    def added(part: Part) -> tuple[float, float, str]:
        responses = [one for agent in part.agents.values() for one in agent.responses]
        own = [one.asked or one.first for one in responses if shared[_identity(one)] == 1]
        last = max((agent.last for agent in part.agents.values() if agent.last is not None), default=-_NEVER)
        return min((at for at in own if at is not None), default=-_NEVER), last, part.name

    parts.sort(key=added)
    whole = parts.pop(0)
    places = {
        _identity(one): (key, index) for key, agent in whole.agents.items() for index, one in enumerate(agent.responses)
    }
    copies = 0
    while parts:
        for key, agent in parts.pop(0).agents.items():
            into = whole.agents.setdefault(key, Agent(version=agent.version, model=agent.model, run=agent.run))
            copies += _append(into, key, agent, places)
    if copies:
        state.note("responses that a resumed or forked session has too, counted once", copies)
    whole.agents = {key: agent for key, agent in whole.agents.items() if agent.responses}
    return whole


def _append(into: Agent, key: str, agent: Agent, places: dict[tuple[int, int], tuple[str, int]]) -> int:
    """Append the new responses, and return how many were already there."""
    copies = 0
    here: list[int | None] = []
    """Where the responses are now, if in this agent."""
    for index, one in enumerate(agent.responses):
        found = places.get(_identity(one))
        if found is not None:
            copies += 1
            here.append(found[1] if found[0] == key else None)
            _improve(into, found, key, one)
            continue
        before = one.goes_on_from
        if before is None and index:
            before = index - 1
        if before is not None and before >= 0:
            one.goes_on_from = here[before]
        here.append(len(into.responses))
        places[_identity(one)] = (key, len(into.responses))
        into.responses.append(one)
    into.launched = {**agent.launched, **into.launched}
    into.prompts = {**agent.prompts, **into.prompts}
    into.names = {**agent.names, **into.names}
    into.first_prompt, into.maybe = into.first_prompt or agent.first_prompt, into.maybe or agent.maybe
    times = [at for at in (into.last, agent.last) if at is not None]
    into.last = max(times, default=None)
    return copies


def _improve(into: Agent, place: tuple[str, int], key: str, copy: Response) -> None:
    if place[0] == key:
        one = into.responses[place[1]]
        one.output_tokens = max(one.output_tokens, copy.output_tokens)
