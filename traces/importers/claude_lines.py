"""The JSON of a Claude Code record, as far as it is read: text is passed over rather than taken in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from continuum_sim.traces.importers.values import decode

_NOTHING: Final = msgspec.Raw(b"null")


class Line(msgspec.Struct, rename="camel"):
    """A record of a session's file, or of the stream that ``--output-format stream-json`` writes (snake case)."""

    type: Any = None
    subtype: Any = None
    uuid: Any = None
    parent_uuid: Any = None
    session_id: Any = None
    stream_session_id: Any = msgspec.field(default=None, name="session_id")
    is_sidechain: Any = None
    agent_id: Any = None
    is_meta: Any = None
    is_compact_summary: Any = None
    timestamp: Any = None
    version: Any = None
    claude_code_version: Any = msgspec.field(default=None, name="claude_code_version")
    parent_tool_use_id: Any = msgspec.field(default=None, name="parent_tool_use_id")
    """Of the stream: the call whose sub-agent this is of."""
    origin: Any = None
    message: msgspec.Raw = _NOTHING
    tool_use_result: msgspec.Raw = _NOTHING
    stream_tool_use_result: msgspec.Raw = msgspec.field(default=_NOTHING, name="tool_use_result")
    attachment: msgspec.Raw = _NOTHING
    content: msgspec.Raw = _NOTHING
    data: msgspec.Raw = _NOTHING
    parent_tool: Any = msgspec.field(default=None, name="parentToolUseID")
    event: msgspec.Raw = _NOTHING
    usage: msgspec.Raw = _NOTHING
    task_id: Any = msgspec.field(default=None, name="task_id")
    tool_use_id: Any = msgspec.field(default=None, name="tool_use_id")
    status: Any = None

    @property
    def session(self) -> str:
        """Id of its session."""
        return text(self.session_id) or text(self.stream_session_id)

    @property
    def origin_kind(self) -> str:
        """Who a message came from, in newer versions: ``human``, ``task-notification``, ``peer``."""
        return text(self.origin.get("kind")) if isinstance(self.origin, dict) else ""


class Message(msgspec.Struct):
    """What a record holds of the API's message."""

    id: Any = None
    model: Any = None
    usage: Any = None
    content: msgspec.Raw = _NOTHING


class Block(msgspec.Struct):
    """One block of a message's content."""

    type: Any = None
    text: Any = None
    thinking: Any = None
    id: Any = None
    name: Any = None
    input: msgspec.Raw = _NOTHING
    tool_use_id: Any = None
    content: msgspec.Raw = _NOTHING


class Input(msgspec.Struct):
    """Of a tool's input, what says which agent or shell it is about."""

    prompt: Any = None
    task_id: Any = None
    agent_id: Any = None
    agent_id_of_old: Any = msgspec.field(default=None, name="agentId")
    shell_id: Any = None
    bash_id: Any = None


class _Task(msgspec.Struct):
    task_id: Any = None
    status: Any = None


class _Result(msgspec.Struct, rename="camel"):
    agent_id: Any = None
    resumed_agent_id: Any = None
    run_id: Any = None
    status: Any = None
    is_async: Any = None
    background: Any = None
    background_task_id: Any = None
    retrieval_status: Any = msgspec.field(default=None, name="retrieval_status")
    task: msgspec.Raw = _NOTHING
    agents: msgspec.Raw = _NOTHING


class Result(NamedTuple):
    """What Claude Code notes beside a tool's answer."""

    agent: str = ""
    """The sub-agent that it is the answer of, or that was launched."""
    run: str = ""
    """The workflow that was launched."""
    task: str = ""
    """The shell that was sent to the background."""
    launched: bool = False
    """Whether the answer is the mere news that something runs."""
    retrieved: tuple[str, ...] = ()
    """What the tool was asked to wait for, where that has ended."""
    unfinished: bool = False
    """Whether that went on when the tool gave up waiting."""


class _Attachment(msgspec.Struct):
    type: Any = None
    prompt: Any = None


class _Progress(msgspec.Struct):
    agent_id: Any = msgspec.field(default=None, name="agentId")


class _Event(msgspec.Struct):
    type: Any = None
    message: msgspec.Raw = _NOTHING
    usage: Any = None


_LINE: Final = msgspec.json.Decoder(Line)
_MESSAGE: Final = msgspec.json.Decoder(Message)
_BLOCKS: Final = msgspec.json.Decoder(list[msgspec.Raw])
_BLOCK: Final = msgspec.json.Decoder(Block)
_INPUT: Final = msgspec.json.Decoder(Input)
_RESULT: Final = msgspec.json.Decoder(_Result)
_TASK: Final = msgspec.json.Decoder(_Task)
_AGENTS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ATTACHMENT: Final = msgspec.json.Decoder(_Attachment)
_PROGRESS: Final = msgspec.json.Decoder(_Progress)
_EVENT: Final = msgspec.json.Decoder(_Event)
_TEXT: Final = msgspec.json.Decoder(str)

_NOTIFICATION: Final = re.compile(r"\s*<(?:task|agent|bash|shell)-notification>")
_TASK_ID: Final = re.compile(r"<(?:task|agent|bash|shell)-id>\s*([^<\s]+)")
_TOOL_ID: Final = re.compile(r"<tool-use-id>\s*([^<\s]+)")
_STATUS: Final = re.compile(r"<status>\s*([^<\s]+)")
_RUNNING: Final = ("running", "pending", "in_progress", "timeout", "not_ready")
_STILL_RUNNING: Final = re.compile(rb"<(?:status|retrieval_status)>\s*(?:running|pending|timeout|not_ready)")
_LAUNCHED: Final = ("async_launched", "teammate_spawned", "forked", "remote_launched")


class Notification(NamedTuple):
    """The news that a background agent or shell has ended."""

    task: str
    tool: str
    """Id of the call that launched it."""
    ended: bool


def read_line(data: bytes | msgspec.Raw) -> Line:
    """Return the record in ``data``.

    Raises
    ------
    TraceError
        Without a place, if it is no JSON object.
    """
    line: Line = decode(data, _LINE)
    return line


def message_of(line: Line) -> Message | None:
    """Return a record's message, if it has one."""
    found: Message | None = _if_object(line.message, _MESSAGE)
    return found


def blocks_of(content: msgspec.Raw) -> list[Block]:
    """Return the blocks of a message's content: of a mere text, the one block that it stands for."""
    data = bytes(content)
    if data.startswith(b"["):
        items: list[msgspec.Raw] = decode(data, _BLOCKS)
        return [block for block in (_if_object(item, _BLOCK) for item in items) if block is not None]
    return [Block("text", decode(data, _TEXT))] if data.startswith(b'"') else []


def input_of(block: Block) -> Input:
    """Return what a tool was given."""
    return _if_object(block.input, _INPUT) or Input()


def result_of(line: Line) -> Result:
    """Return what is noted beside a tool's answer."""
    found: _Result | None = _if_object(line.tool_use_result, _RESULT) or _if_object(
        line.stream_tool_use_result, _RESULT
    )
    if found is None:
        return Result()
    task = _if_object(found.task, _TASK) or _Task()
    agents = _if_object(found.agents, _AGENTS) or {}
    unfinished = found.retrieval_status in _RUNNING or task.status in _RUNNING
    retrieved = tuple(one for one in (text(task.task_id), *agents) if one) if found.retrieval_status else ()
    return Result(
        text(found.agent_id) or text(found.resumed_agent_id),
        text(found.run_id),
        text(found.background_task_id),
        found.status in _LAUNCHED or found.is_async is True or found.background is True or bool(found.resumed_agent_id),
        () if unfinished else retrieved,
        unfinished,
    )


def still_running(block: Block) -> bool:
    """Whether a tool's answer says in its text that what it waited for goes on."""
    return _STILL_RUNNING.search(bytes(block.content)) is not None


def notifications(value: Any) -> Iterator[Notification]:
    """Yield the news that a text consists of, if it does."""
    if not isinstance(value, str) or not _NOTIFICATION.match(value):
        return
    for one in _NOTIFICATION.split(value)[1:]:
        task, tool, status = (found.search(one) for found in (_TASK_ID, _TOOL_ID, _STATUS))
        ended = status is None or status.group(1) not in _RUNNING
        yield Notification(task.group(1) if task else "", tool.group(1) if tool else "", ended)


def attached(line: Line) -> Iterator[Notification]:
    """Yield the news that came while other tools ran."""
    found: _Attachment | None = _if_object(line.attachment, _ATTACHMENT)
    if found is not None and found.type == "queued_command":
        yield from notifications(found.prompt)


def queued(line: Line) -> Iterator[Notification]:
    """Yield the news that was put into the queue of what to tell the model."""
    data = bytes(line.content)
    if data.startswith(b'"') and b"-notification>" in data[:64]:
        yield from notifications(decode(data, _TEXT))


def progress_of(line: Line) -> str:
    """Return the sub-agent whose progress a record tells."""
    found: _Progress | None = _if_object(line.data, _PROGRESS)
    return text(found.agent_id) if found else ""


def stream_event(line: Line) -> tuple[str, str, Any]:
    """Return kind, message id and usage of an event of the API's stream."""
    event: _Event = _if_object(line.event, _EVENT) or _Event()
    message: Message = _if_object(event.message, _MESSAGE) or Message()
    return text(event.type), text(message.id), event.usage


def usage_of(line: Line) -> Any:
    """Return the usage beside a result of the stream."""
    return decode(line.usage)


def text(value: Any) -> str:
    """Return ``value`` if it is text, else none."""
    return value if isinstance(value, str) else ""


def _if_object(data: msgspec.Raw, decoder: msgspec.json.Decoder[Any]) -> Any:
    return (
        decode(data, decoder) if bytes(data[:1] if isinstance(data, bytes) else memoryview(data)[:1]) == b"{" else None
    )
