"""Read Codex CLI's rollouts record by record, and assemble their responses."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.fields import as_count, as_object, as_time, optional_object
from continuum_sim.traces.importers.values import reader

WAITING: Final = frozenset({"wait", "wait_agent", "wait_agents"})
"""Tools with which an agent waits for its sub-agents: their time is not the agent's own."""
_CALLS: Final = {
    "function_call": "function",
    "custom_tool_call": "custom_tool",
    "local_shell_call": "local_shell",
    "tool_search_call": "tool_search",
    "web_search_call": "web_search",
    "image_generation_call": "image_generation",
}
"""Items that call a tool, and the name of the tool if the item has none."""
_COMPACTIONS: Final = ("compaction", "context_compaction", "compaction_summary", "context_compacted")
_COUNTS: Final = ("input_tokens", "cached_input_tokens", "output_tokens", "reasoning_output_tokens")


class Payload(msgspec.Struct):
    """The needed fields of a record's ``payload``, whatever its type; the conversation's text is skipped."""

    type: Any = None
    id: Any = None
    timestamp: Any = None
    source: Any = None
    forked_from_id: Any = None
    parent_thread_id: Any = None
    role: Any = None
    name: Any = None
    call_id: Any = None
    info: Any = None


class _Line(msgspec.Struct):
    timestamp: Any = None
    type: Any = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


_line = reader(_Line)
_payload = reader(Payload)
_READ: Final = ("session_meta", "response_item", "event_msg", "compacted")


def read_record(data: bytes | msgspec.Raw) -> tuple[str, float | None, Payload]:
    """Return a record's type, time and payload; an item without a wrapper (until 2025) is a response item.

    Raises
    ------
    TraceError
        Without a place, if it is not a record.
    """
    line = _line(data)
    at = None if line.timestamp is None else as_time(line.timestamp, "timestamp")
    if len(memoryview(line.payload)) == 4:  # null
        payload = _payload(data)
        return ("session_meta" if line.type is None and payload.id is not None else "response_item"), at, payload
    kind = line.type if line.type in _READ else ""
    # `compacted` holds the history that replaces the old one, and nothing that is needed here.
    return kind, at, _payload(line.payload) if kind not in ("", "compacted") else Payload()


@dataclass(slots=True)
class Response:
    """One served request: its counts, and what followed it."""

    key: tuple[int, ...]
    """The session's counts up to it: equal in copies of it, and different from any other response's in the session."""
    prompt: int
    output: int
    cached: int
    answered: float | None
    """When the last of its items was there."""
    compacted: bool
    names: list[str]
    asked: float | None = None
    """When the last input of the next prompt was there."""
    asked_own: float | None = None
    """The same without the end of waiting for sub-agents."""
    human: bool = False


@dataclass(slots=True)
class Thread:
    """One rollout read so far.

    Attributes
    ----------
    thread_id, start_s
        From the first `session_meta`.
    parent
        The thread that started it as a sub-agent.
    before
        Threads whose records it repeats.
    responses
        The completed responses.
    """

    thread_id: str = ""
    start_s: float | None = None
    parent: str = ""
    before: list[str] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    _names: list[str] = field(default_factory=list)
    _made: float | None = None
    _compacted: bool = False
    _early: float | None = None
    _calls: dict[str, str] = field(default_factory=dict)
    _sums: tuple[int, ...] | None = None

    def take(self, kind: str, at: float | None, payload: Payload) -> None:
        """Process the next record.

        Raises
        ------
        TraceError
            Without a place, if a count is invalid.
        """
        if kind == "session_meta":
            self._begin(at, payload)
        elif kind == "compacted" or payload.type in _COMPACTIONS:
            self._compacted = True
        elif kind == "response_item":
            self._item(at, payload)
        elif payload.type == "token_count":
            self._count(at, payload)
        elif payload.type == "user_message":
            self._input(at)
            if self.responses:
                self.responses[-1].human = True
        elif payload.type == "turn_aborted":
            self._names, self._made = [], None

    def _begin(self, at: float | None, payload: Payload) -> None:
        name = payload.id if isinstance(payload.id, str) else ""
        forked = payload.forked_from_id if isinstance(payload.forked_from_id, str) else ""
        if self.thread_id:
            # A copy of the `session_meta` that it continues.
            self.before += [one for one in (name, forked) if one and one != self.thread_id]
            return
        self.thread_id = name
        self.start_s = at if payload.timestamp is None else as_time(payload.timestamp, "payload.timestamp")
        sub_agent = optional_object(payload.source).get("subagent")
        if sub_agent is not None:
            spawn = optional_object(optional_object(sub_agent).get("thread_spawn"))
            parent = spawn.get("parent_thread_id", payload.parent_thread_id)
            self.parent = parent if isinstance(parent, str) else ""
        self.before += [forked] if forked else []

    def _item(self, at: float | None, payload: Payload) -> None:
        kind = payload.type if isinstance(payload.type, str) else ""
        if kind in _CALLS:
            name = payload.name if isinstance(payload.name, str) and payload.name else _CALLS[kind]
            self._names.append(name)
            if isinstance(payload.call_id, str):
                self._calls[payload.call_id] = name
        elif kind.endswith("_output"):
            name = self._calls.pop(payload.call_id, "") if isinstance(payload.call_id, str) else ""
            self._input(at, own=name not in WAITING)
            return
        elif kind == "message" and payload.role != "assistant":
            self._input(at)
            return
        elif kind not in ("message", "reasoning"):
            return
        if at is not None:
            self._made = at

    def _input(self, at: float | None, *, own: bool = True) -> None:
        """Record that an input of the next prompt was there."""
        if at is None:
            return
        if self._made is not None:  # a tool that ended before its response was counted
            self._early = max(at, self._early or at)
        elif self.responses:
            last = self.responses[-1]
            last.asked = max(at, last.asked or at)
            if own:
                last.asked_own = max(at, last.asked_own or at)

    def _count(self, at: float | None, payload: Payload) -> None:
        """Make a response of the items so far, unless these counts are a repetition."""
        if payload.info is None:
            return
        info = as_object(payload.info, "payload.info")
        total, last = info.get("total_token_usage"), info.get("last_token_usage")
        sums = None if total is None else _counts(total, "payload.info.total_token_usage")
        own = None if last is None else _counts(last, "payload.info.last_token_usage")
        before = self._sums
        if (sums or own) == before:
            return
        self._sums = sums or own
        if sums is not None and (own is None or own[0] == 0):
            own = tuple(new - old for new, old in zip(sums, before or (0, 0, 0, 0), strict=True))
        if own is None:
            return
        if own[0] < 1:
            raise TraceError(f"payload.info: input_tokens of the response is {own[0]}, expected at least 1")
        prompt, cached, output, _ = own
        self.responses.append(
            Response(
                sums or own,
                prompt,
                max(0, output),
                max(0, min(prompt, cached)),
                at if self._made is None else self._made,
                self._compacted,
                self._names,
                self._early,
                self._early,
            )
        )
        self._names, self._made, self._early, self._compacted = [], None, None, False


def _counts(value: Any, place: str) -> tuple[int, ...]:
    usage = as_object(value, place)
    return tuple(as_count(usage.get(name) or 0, f"{place}.{name}") for name in _COUNTS)
