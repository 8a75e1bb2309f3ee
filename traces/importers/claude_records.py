"""Assemble a Claude Code session from its records, one by one (what they are: `claude_code`)."""

from __future__ import annotations

import re
from collections.abc import Container
from sys import intern
from typing import Any, Final

import msgspec

from continuum_sim.traces.check import MAX_TOKENS
from continuum_sim.traces.importers.claude_lines import (
    Block,
    Line,
    Message,
    Notification,
    attached,
    blocks_of,
    input_of,
    launched_in_text,
    notifications,
    progress_of,
    queued,
    result_of,
    still_running,
    stream_event,
    text,
    usage_of,
)
from continuum_sim.traces.importers.claude_parts import CHARS_PER_TOKEN, Agent, Came, Part, Response
from continuum_sim.traces.importers.fields import as_count, as_time, optional_object
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.tokens import Tokens
from continuum_sim.traces.importers.usage import read_usage

_CALL_CHARS: Final = 40
"""Characters that a tool call takes beside its name and input, at least."""
_RUN: Final = re.compile(rb"(.)\1{3,}", re.DOTALL)
_CHAIN: Final = "sidechain-"
"""Prefix of the names of sub-agents without an id."""
_STARTS_AGENTS: Final = ("Task", "Agent")
_WAITS_FOR: Final = ("TaskOutput", "AgentOutputTool", "AgentOutput", "BashOutput", "BashOutputTool")
"""Tools that wait for a sub-agent or a background shell, by their names over the versions."""
_NOT_A_PERSON: Final = ("<teammate-message", "<cross-session-message")


class Reader:
    """Assembles a `Part` from its records.

    Parameters
    ----------
    part
        The part to fill.
    tokens
        Counts the tokens that responses show, if requested.
    """

    def __init__(self, part: Part, tokens: Tokens | None) -> None:
        self.part = part
        self._tokens = tokens
        self._reading: dict[str, _Reading] = {}
        self._roots: dict[int, str] = {}
        self._open_calls: dict[str, None] = {}

    def knows(self, record: str | None) -> bool:
        """Return True if a record (given by its ``uuid``) is one of these."""
        return record is not None and any(hash(record) in one.responded for one in self._reading.values())

    def take(self, line: Line, run: str = "") -> None:
        """Process one record; ``run`` is the workflow that its file belongs to, if any.

        Raises
        ------
        TraceError
            If a count or a time in it is impossible.
        """
        kind = line.type
        if kind == "result":
            self._check(line)
            return
        if kind == "progress":
            if (child := progress_of(line)) and line.parent_tool:
                self._agent("").launches(child, line.parent_tool)
            return
        reading = self._agent(self._key(line), run)
        if kind == "stream_event":
            reading.stream(*stream_event(line))
            return
        above = reading.above(line)
        if above is _SEEN:
            return
        if kind == "system":
            if line.subtype == "compact_boundary":
                reading.compacted = True
            elif line.subtype == "task_notification":
                ended = line.status not in ("running", "pending")
                reading.news([Notification(line.task_id or "", line.tool_use_id or "", ended)], _time(line))
        elif kind == "attachment":
            reading.news(list(attached(line)), _time(line))
        elif kind == "queue-operation":
            queue = reading.agent.queued
            queue += [(len(reading.agent.responses), one.task, one.tool) for one in queued(line) if one.ended]
        elif kind in ("assistant", "user"):
            message = line.message
            if message is None:
                return
            if kind == "user":
                reading.ask(line, message, self._open_calls, self.part.agents)
            elif message.model != "<synthetic>" and message.id is not None:
                if not reading.agent.version:
                    reading.agent.version = line.version or line.claude_code_version or ""
                reading.answer(line, message, above, self._tokens, self._open_calls)

    def _agent(self, key: str, run: str = "") -> _Reading:
        found = self._reading.get(key)
        if found is None:
            found = self._reading[key] = _Reading(Agent())
            self.part.agents[key] = found.agent
            if key.startswith(_CHAIN) and len(self._open_calls) == 1:
                (found.agent.maybe,) = self._open_calls
        found.agent.run = found.agent.run or run
        return found

    def _key(self, line: Line) -> str:
        """Return the sub-agent that a record belongs to, or ``""`` for the main conversation.

        If sub-agents have no id, each chain of records (``parentUuid``) counts as one, named after its first record.
        """
        if line.parent_tool_use_id:
            return line.parent_tool_use_id
        if not line.is_sidechain:
            return ""
        if line.agent_id:
            return line.agent_id
        uuid = line.uuid
        root = None if line.parent_uuid is None else self._roots.get(hash(line.parent_uuid))
        if root is None:
            root = f"{_CHAIN}{uuid or len(self._roots)}"
        if uuid:
            self._roots[hash(uuid)] = root
        return root

    def _check(self, line: Line) -> None:
        total = optional_object(usage_of(line)).get("output_tokens")
        if total is not None:
            own = sum(one.output_tokens for agent in self.part.agents.values() for one in agent.responses)
            self.part.results.append((as_count(total, "usage.output_tokens"), own))


_SEEN: Final = -2
"""In place of a response's index: the record was already processed."""


class _Reading:
    """An agent, with the state that is needed only while reading it."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.compacted = False
        self.responded: dict[int, int] = {}
        """Record (hash of its ``uuid``) to the last response at or above it in its branch; -1 if there is none."""
        self._came: list[Came] = []
        self._other: float | None = None
        self._from_user = False
        self._index: dict[int, int] = {}
        """Response by the hash of its id."""
        self._calls: dict[str, tuple[int, str]] = {}
        """Call that is still unanswered, to its response and the tool's name."""
        self._targets: dict[str, str] = {}
        """Call that waits for a background task, to that task."""
        self._streamed = ""

    def above(self, line: Line) -> int | None:
        """Return which response a record follows in its branch, and remember it for later records."""
        uuid = None if line.uuid is None else hash(line.uuid)
        if uuid is not None and uuid in self.responded:
            return _SEEN
        if line.parent_uuid is not None:
            known = self.responded.get(hash(line.parent_uuid))
        else:
            # Records without a parent begin a conversation; later on they may be anything.
            known = None if self.agent.responses else -1
        if known is not None and uuid is not None:
            self.responded[uuid] = known
        return known

    def news(self, found: list[Notification], at: float | None) -> None:
        """Record which background tasks have ended."""
        self._came += [Came(at, one.tool, one.task, one.ended, is_news=True) for one in found]

    def ask(self, line: Line, message: Message, open_calls: dict[str, None], agents: Container[str]) -> None:
        """Process a ``user`` record: answers of tools, a message, or a summary."""
        at = _time(line)
        self._seen_at(at)
        if line.is_compact_summary:
            self.compacted = True
        blocks = blocks_of(message)
        answers = [block for block in blocks if block.type == "tool_result"]
        texts = [block.text for block in blocks if block.type == "text"]
        if not self.agent.responses and not self.agent.first_prompt and texts:
            self.agent.first_prompt = hash("\n".join(texts).strip())
        told = [one for found in texts for one in notifications(found)]
        if told or (line.origin_kind == "task-notification" and not answers):
            self.news(told, at)
            if not told:
                self._came.append(Came(at, is_news=True))
        elif answers:
            for block in answers:
                open_calls.pop(block.tool_use_id, None)
                self._answered(line, block, at, agents)
        else:
            self._came_too(at)
        self._from_user |= not told and not answers and bool(blocks) and _is_from_user(line, texts)

    def answer(
        self, line: Line, message: Message, above: int | None, tokens: Tokens | None, open_calls: dict[str, None]
    ) -> None:
        """Process an ``assistant`` record: a response, or more of it."""
        input_tokens, cached_tokens, output_tokens = _counts(message)
        at = _time(line)
        self._seen_at(at)
        agent, id = self.agent, hash(message.id)
        index = self._index.get(id)
        if index is None:
            index = self._index[id] = len(agent.responses)
            parent = 0 if line.parent_uuid is None else hash(line.parent_uuid)
            one = Response(
                *(id, input_tokens, cached_tokens, output_tokens, self.compacted),
                *(self._came or None, self._other, self._from_user, parent, above),
                first=at,
            )
            agent.model = agent.model if agent.responses else message.model or ""
            agent.responses.append(one)
            self.compacted, self._came, self._other, self._from_user = False, [], None, False
        one = agent.responses[index]
        if line.uuid is not None:
            self.responded[hash(line.uuid)] = index
        if (output_tokens, input_tokens) > (one.output_tokens, one.input_tokens):
            one.output_tokens, one.input_tokens, one.cached_tokens = output_tokens, input_tokens, cached_tokens
        if at is not None:
            one.answered = at if one.answered is None else max(one.answered, at)
        for block in blocks_of(message):
            self._show(block, one, tokens)
            if block.type == "tool_use" and block.name:
                self._call(block, one, open_calls)

    def stream(self, kind: str, id: str, usage: Any) -> None:
        """Process an event of the API's stream; the last one of a response has its final output count."""
        if kind == "message_start":
            self._streamed = id
        index = self._index.get(hash(self._streamed))
        total = optional_object(usage).get("output_tokens")
        if kind == "message_delta" and index is not None and total is not None:
            one = self.agent.responses[index]
            one.output_tokens = max(one.output_tokens, as_count(total, "event.usage.output_tokens"))

    def _seen_at(self, at: float | None) -> None:
        if at is not None:
            self.agent.last = at if self.agent.last is None else max(self.agent.last, at)

    def _show(self, block: Block, one: Response, tokens: Tokens | None) -> None:
        is_call = block.type == "tool_use"
        chars = len(block.text) + len(block.thinking)
        if is_call:
            chars += len(block.name) + len(memoryview(block.input)) + _CALL_CHARS
        if chars > one.output_tokens * CHARS_PER_TOKEN:
            told = (block.text + block.thinking + block.name).encode("utf-8", "replace") + bytes(block.input)
            chars = min(chars, len(_RUN.sub(rb"\1", told)) + _CALL_CHARS * is_call)
        one.shown_chars += chars
        if tokens is not None:
            shown = (block.text, block.thinking, block.name)
            data = bytes(block.input) if is_call else b""
            one.shown_tokens += sum(tokens.count(found) for found in (*shown, data.decode("utf-8", "replace")) if found)

    def _call(self, block: Block, one: Response, open_calls: dict[str, None]) -> None:
        id, name = block.id, intern(block.name)
        one.tools += (name,)
        if not id:
            return
        self._calls[id] = (len(self.agent.responses) - 1, name)
        if name in _STARTS_AGENTS:
            open_calls[id] = None
            self.agent.prompts[id] = hash(text(input_of(block).prompt).strip())
            self._started(id)
        elif name in _WAITS_FOR:
            asked = input_of(block)
            names = (asked.task_id, asked.agent_id, asked.agent_id_of_old, asked.shell_id, asked.bash_id)
            self._targets[id] = next((name for name in names if isinstance(name, str)), "")

    def launches(self, started: str, tool: str) -> None:
        """Record which call started a sub-agent, a workflow or a background shell."""
        self.agent.launched.setdefault(started, tool)
        self._started(tool)

    def _started(self, tool: str) -> None:
        """Record that a call started a sub-agent or a background task."""
        index, name = self._calls.get(tool, (-1, ""))
        if index >= 0 and tool not in self.agent.names:
            self.agent.names[tool] = name
            one = self.agent.responses[index]
            one.starts = [*(one.starts or ()), tool]

    def _answered(self, line: Line, block: Block, at: float | None, agents: Container[str]) -> None:
        """Process a tool's answer."""
        tool = block.tool_use_id
        noted = result_of(line)
        child = noted.agent or ("" if line.is_sidechain else line.agent_id or "")
        shell, is_launched = noted.task, noted.launched
        if not line.has_result and (tool in self.agent.prompts or self._calls.get(tool, (0, ""))[1] == "Bash"):
            launched_agent, shell = launched_in_text(block)
            child, is_launched = child or launched_agent, bool(launched_agent)
        for launched in (child, noted.run, shell):
            if launched:
                self.launches(launched, tool)
        if tool in agents:
            self._started(tool)
        self._calls.pop(tool, None)
        target = self._targets.pop(tool, "")
        if target or noted.retrieved or noted.unfinished:
            over = not noted.unfinished and not still_running(block)
            self._came += [Came(at, tool, task if over else "", over) for task in noted.retrieved or (target,)]
        elif tool in self.agent.names:
            self._came.append(Came(at, tool, "", not is_launched))
        else:
            self._came_too(at)

    def _came_too(self, at: float | None) -> None:
        """Record when an input arrived that concerns no sub-agent and no background task."""
        if at is not None:
            self._other = at if self._other is None else max(self._other, at)


def check_results(part: Part, state: ImportState) -> None:
    """Compare the output tokens of a stream's results with those of its responses."""
    if any(total > own for total, own in part.results):
        state.note("results with more output tokens than their responses have, whose recorded outputs are too low")
        state.unmeasured("output_tokens")


def _counts(message: Message) -> tuple[int, int, int]:
    """Return prompt, cached part and output, in tokens."""
    usage = message.usage
    if usage is not None:
        made, cached = usage.cache_creation_input_tokens or 0, usage.cache_read_input_tokens or 0
        prompt = usage.input_tokens + made + cached
        is_sound = min(usage.input_tokens, made, cached, usage.output_tokens) >= 0
        if is_sound and 0 < prompt <= MAX_TOKENS and usage.output_tokens <= MAX_TOKENS:
            return prompt, cached, usage.output_tokens
    read = read_usage(msgspec.to_builtins(usage), "message.usage")
    return read.input_tokens, read.cached_tokens, read.output_tokens


def _time(line: Line) -> float | None:
    return None if line.timestamp is None else as_time(line.timestamp, "timestamp")


def _is_from_user(line: Line, texts: list[str]) -> bool:
    """Return True if a person wrote this, rather than a tool or Claude Code itself."""
    if line.is_meta or line.is_compact_summary or line.origin_kind not in ("", "human"):
        return False
    return not (texts and texts[0].startswith(_NOT_A_PERSON))
