"""Conversations that logs keep in separate files: each response once, sub-agents within what started them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec

from continuum_sim.traces.check import MAX_DEPTH
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.groups import Groups
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program

_AT_START = float("-inf")


class Response(msgspec.Struct, array_like=True):
    """One response, and what followed it; times in seconds since 1970.

    Attributes
    ----------
    id
        The same in every copy of the response.
    prompt, output, cached
        Whole prompt, whole output, and tokens supplied by a cache.
    dropped, compacted
        As in `Call`.
    sent, answered
        When it was requested, if the log says so, and when all of it was there.
    copied
        True if the log says that it is a copy.
    after
        If a person went back: the last response that this one shares with the one before it; empty if none.
    names, ended, agents
        Its tools, when they ended, and the sub-agents that they ran.
    human
        When a person spoke after it.
    """

    id: str
    prompt: int = 0
    output: int = 0
    cached: int = 0
    dropped: bool = False
    compacted: bool = False
    sent: float | None = None
    answered: float | None = None
    copied: bool = False
    after: str | None = None
    names: list[str] = []
    ended: list[float] = []
    agents: list[str] = []
    human: float | None = None


class Conversation(msgspec.Struct, array_like=True):
    """One agent's responses; ``start`` is its first prompt's time, ``parent`` what started it as a sub-agent."""

    name: str
    parent: str = ""
    start: float | None = None
    responses: list[Response] = []


_decode = msgspec.msgpack.Decoder(Conversation).decode


class Conversations:
    """Keeps conversations until all files are read, because a later one may be an earlier one's parent or copy."""

    def __init__(self) -> None:
        self._held = Groups(by_time=True)
        self._parents: dict[str, str] = {}
        self._originals: set[str] = set()
        self._count = 0

    def add(self, one: Conversation) -> None:
        """Add a conversation with responses."""
        self._count += 1
        if one.parent and one.parent != one.name:
            self._parents.setdefault(one.name, one.parent)
        self._originals.update(response.id for response in one.responses if not response.copied)
        self._held.add(str(self._count), msgspec.msgpack.encode(one), _AT_START if one.start is None else one.start)

    def programs(self, state: ImportState, path: Path) -> Iterator[Program]:
        """Yield the programs; one that cannot be used is a bad record of ``path``."""
        families = Groups(by_time=True)
        seen: set[str] = set()
        for _, (row,) in self._held:
            one = _decode(row)
            self._keep_own(one, seen, state)
            if one.responses:
                at = _AT_START if one.start is None else one.start
                families.add(self._root(one.name), msgspec.msgpack.encode(one), at)
        for root, rows in families:
            try:
                programs = _Family(root, [_decode(row) for row in rows], state).programs()
            except TraceError as error:
                state.bad(TraceError(f"session {root}: {error.detail}"), path)
                continue
            yield from programs

    def _keep_own(self, one: Conversation, seen: set[str], state: ImportState) -> None:
        """Remove the responses that a conversation repeats."""
        whole = one.responses
        one.responses = [r for r in whole if r.id not in seen and not (r.copied and r.id in self._originals)]
        seen.update(response.id for response in one.responses)
        if len(one.responses) == len(whole):
            return
        times = len(whole) - len(one.responses)
        state.note("responses that several sessions have (forked or copied), taken once", times)
        if one.responses and one.responses[0] is not whole[0]:
            # A branch begins where a person continued what it repeats.
            first = one.responses[0]
            spoke = next(r.human for r, following in pairwise(whole) if following is first)
            one.start = spoke if spoke is not None else first.sent if first.sent is not None else first.answered

    def _root(self, name: str) -> str:
        seen = {name}
        while (above := self._parents.get(name)) is not None and above not in seen:
            seen.add(above)
            name = above
        return name


class _Family:
    """The conversations of an agent and its sub-agents."""

    def __init__(self, root: str, members: list[Conversation], state: ImportState) -> None:
        self._state = state
        self._apart: list[Program] = []
        self._tops: list[Conversation] = []
        self._left: dict[str, Conversation] = {}
        for one in members:
            if one.name == root or one.name in self._left:
                self._tops.append(one)
            else:
                self._left[one.name] = one

    def programs(self) -> list[Program]:
        """Return the programs: the agent's, including its sub-agents, and those not linked to a turn."""
        found = [self._program(one, "", 0) for one in self._tops]
        while self._left:
            known = [name for name, one in self._left.items() if one.parent not in self._left] or list(self._left)
            one = self._left.pop(known[0])
            self._state.note("sub-agents without the session that started them, programs of their own")
            found.append(self._program(one, one.parent, 0))
        return found + self._apart

    def _program(self, one: Conversation, above: str, depth: int) -> Program:
        if depth > MAX_DEPTH:
            raise TraceError(f"sub-agents are nested too deeply, expected at most {MAX_DEPTH} levels")
        name = self._state.unique(f"{above}/{one.name}" if above else one.name)
        started: list[Started] = []
        ends: dict[int, float | None] = {}
        for key in [key for key, child in self._left.items() if child.parent == one.name]:
            child = self._left.pop(key)
            after, ended = _after(one, child), child.responses[-1].answered
            program = self._program(child, name, depth + 1)
            if after < 0:
                self._state.note("sub-agents that no turn is known to have started, imported as programs of their own")
                self._apart.append(program)
                continue
            join = after + 1 if _waits(one, after, ended) else None
            started.append(Started(program, after, join))
            if join is not None:
                ends[join] = ended
        calls = [_call(one.responses, index, ends, self._state) for index in range(len(one.responses))]
        return with_children(make_program(name, calls, self._state, arrival_s=one.start), started)


def _after(parent: Conversation, child: Conversation) -> int:
    """Return the response that started a sub-agent: the one whose tool names it, otherwise the last one before it."""
    named = next((index for index, one in enumerate(parent.responses) if child.name in one.agents), None)
    if named is not None or child.start is None:
        return -1 if named is None else named
    return sum(one.answered is not None and one.answered <= child.start for one in parent.responses) - 1


def _waits(parent: Conversation, after: int, ended: float | None) -> bool:
    """Return True if the response after ``after`` came once a sub-agent had ended."""
    if after + 1 >= len(parent.responses):
        return False
    heard = max([*parent.responses[after].ended, parent.responses[after + 1].sent or _AT_START])
    return ended is None or heard == _AT_START or heard >= ended


def _call(responses: list[Response], index: int, ends: dict[int, float | None], state: ImportState) -> Call:
    """Make the call of a response; if the next one waits for a sub-agent, the gap is the time of the other tools."""
    one = responses[index]
    gap_s: float | None = None
    if index + 1 < len(responses):
        heard = max([*one.ended, *(() if one.human is None else (one.human,))], default=None)
        until = responses[index + 1].sent if responses[index + 1].sent is not None else heard
        if index + 1 in ends:
            ended = ends[index + 1]
            own = [at for at in one.ended if ended is not None and at < ended]
            gap_s = 0.0 if one.answered is None else max(0.0, max(own, default=one.answered) - one.answered)
        elif until is not None and one.answered is not None:
            gap_s = until - one.answered
        else:
            state.note("responses without times around them, gap taken as 0 s")
    return Call(
        one.prompt,
        one.output,
        kept_tokens=_kept(responses, index, state),
        cached_tokens=one.cached,
        compacted=one.compacted,
        output_dropped=one.dropped,
        tool=joined([*one.names, *(("human",) if one.human is not None else ())]) or "client",
        tool_s=gap_s,
    )


def _kept(responses: list[Response], index: int, state: ImportState) -> int | None:
    """Return the tokens shared with the response before if a person went back; None to let lengths decide."""
    one = responses[index]
    if one.after is None or not index or one.compacted:
        return None
    state.note("turns after going back in the conversation, which keep what both branches have in common")
    before = next((other for other in responses[:index] if other.id == one.after), None)
    if before is None:
        return 0
    last = responses[index - 1]
    context = before.prompt + (0 if before.dropped else max(1, before.output))
    return min(context, one.prompt, last.prompt + max(1, last.output))
