"""Decode Claude Code records, reading only the fields that are needed and skipping text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import msgspec

from continuum_sim.traces.importers.fields import as_object
from continuum_sim.traces.importers.usage import read_usage
from continuum_sim.traces.importers.values import decode

_NOTHING: Final = msgspec.Raw(b"null")


class Counts(msgspec.Struct):
    """``usage`` of a message, if it is well-formed."""

    input_tokens: int
    output_tokens: int
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None


class Block(msgspec.Struct):
    """One block of a message's content."""

    type: str = ""
    text: str = ""
    thinking: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = _NOTHING
    tool_use_id: str = ""
    content: msgspec.Raw = _NOTHING


class Message(msgspec.Struct):
    """What a record holds of the API's message."""

    id: str | None = None
    model: str | None = None
    usage: Counts | None = None
    content: str | list[Block] | None = None


class _Task(msgspec.Struct):
    task_id: str | None = None
    status: str | None = None


class _Noted(msgspec.Struct, rename="camel"):
    agent_id: str | None = None
    resumed_agent_id: str | None = None
    run_id: str | None = None
    status: str | None = None
    is_async: bool | None = None
    background: bool | None = None
    background_task_id: str | None = None
    retrieval_status: str | None = msgspec.field(default=None, name="retrieval_status")
    task: _Task | None = None
    agents: dict[str, msgspec.Raw] | None = None


class Line(msgspec.Struct, rename="camel"):
    """A record of a session's file, or of the stream that ``--output-format stream-json`` writes (snake case)."""

    type: str = ""
    subtype: str | None = None
    uuid: str | None = None
    parent_uuid: str | None = None
    session_id: str | None = None
    stream_session_id: str | None = msgspec.field(default=None, name="session_id")
    is_sidechain: bool | None = None
    agent_id: str | None = None
    is_meta: bool | None = None
    is_compact_summary: bool | None = None
    timestamp: Any = None
    version: str | None = None
    claude_code_version: str | None = msgspec.field(default=None, name="claude_code_version")
    parent_tool_use_id: str | None = msgspec.field(default=None, name="parent_tool_use_id")
    """In the stream: the call that started the sub-agent which this record belongs to."""
    origin: Any = None
    message: Message | None = None
    tool_use_result: _Noted | str | list[msgspec.Raw] | None = None
    stream_tool_use_result: _Noted | str | list[msgspec.Raw] | None = msgspec.field(
        default=None, name="tool_use_result"
    )
    attachment: msgspec.Raw = _NOTHING
    content: msgspec.Raw = _NOTHING
    data: msgspec.Raw = _NOTHING
    parent_tool: str | None = msgspec.field(default=None, name="parentToolUseID")
    event: msgspec.Raw = _NOTHING
    usage: msgspec.Raw = _NOTHING
    task_id: str | None = msgspec.field(default=None, name="task_id")
    tool_use_id: str | None = msgspec.field(default=None, name="tool_use_id")
    status: Any = None

    @property
    def session(self) -> str:
        """Id of its session."""
        return self.session_id or self.stream_session_id or ""

    @property
    def has_result(self) -> bool:
        """Return True if anything is recorded beside a tool's answer."""
        return self.tool_use_result is not None or self.stream_tool_use_result is not None

    @property
    def origin_kind(self) -> str:
        """Return who a message came from, in newer versions: ``human``, ``task-notification``, ``peer``."""
        return text(self.origin.get("kind")) if isinstance(self.origin, dict) else ""


class Input(msgspec.Struct):
    """The parts of a tool's input that name an agent or a shell."""

    prompt: Any = None
    task_id: Any = None
    agent_id: Any = None
    agent_id_of_old: Any = msgspec.field(default=None, name="agentId")
    shell_id: Any = None
    bash_id: Any = None


class Result(NamedTuple):
    """What Claude Code records beside a tool's answer."""

    agent: str = ""
    """The sub-agent that answered or was launched."""
    run: str = ""
    """The workflow that was launched."""
    task: str = ""
    """The shell that was sent to the background."""
    launched: bool = False
    """True if the answer only says that something runs."""
    retrieved: tuple[str, ...] = ()
    """What the tool was asked to wait for and has ended."""
    unfinished: bool = False
    """True if that was still running when the tool gave up waiting."""


class _Attachment(msgspec.Struct):
    type: Any = None
    prompt: Any = None


class _Progress(msgspec.Struct):
    agent_id: Any = msgspec.field(default=None, name="agentId")


class _Event(msgspec.Struct):
    type: Any = None
    message: Any = None
    usage: Any = None


_LINE: Final = msgspec.json.Decoder(Line)
_INPUT: Final = msgspec.json.Decoder(Input)
_ATTACHMENT: Final = msgspec.json.Decoder(_Attachment)
_PROGRESS: Final = msgspec.json.Decoder(_Progress)
_EVENT: Final = msgspec.json.Decoder(_Event)
_TEXT: Final = msgspec.json.Decoder(str)
_NO_RESULT: Final = Result()

_NOTIFICATION: Final = re.compile(r"\s*<(?:task|agent|bash|shell)-notification>")
_TASK_ID: Final = re.compile(r"<(?:task|agent|bash|shell)-id>\s*([^<\s]+)")
_TOOL_ID: Final = re.compile(r"<tool-use-id>\s*([^<\s]+)")
_STATUS: Final = re.compile(r"<status>\s*([^<\s]+)")
_RUNNING: Final = ("running", "pending", "in_progress", "timeout", "not_ready")
_STILL_RUNNING: Final = re.compile(rb"<(?:status|retrieval_status)>\s*(?:running|pending|timeout|not_ready)")
_AGENT_LAUNCHED: Final = re.compile(rb"Async agent launched.{0,80}?agentId: ([\w-]+)", re.DOTALL)
_SHELL_LAUNCHED: Final = re.compile(rb"Command running in background with ID: ([\w-]+)")
_LAUNCHED: Final = ("async_launched", "teammate_spawned", "forked", "remote_launched")


class Notification(NamedTuple):
    """A notification that a background agent or shell has ended."""

    task: str
    tool: str
    """Id of the call that launched it."""
    ended: bool


def read_line(data: bytes | msgspec.Raw) -> Line:
    """Return the record in ``data``, skipping fields of a wrong type where possible.

    Raises
    ------
    TraceError
        Without a place, if ``data`` is not a JSON object, or a response's ``usage`` is malformed.
    """
    try:
        return _LINE.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return _loosely(data)


def _loosely(data: bytes | msgspec.Raw) -> Line:
    """Read a record field by field: records that do not matter may hold anything, under any name."""
    fields = as_object(decode(data), "the line")
    message = fields.get("message")
    usage: Any = None
    if isinstance(message, dict):
        content = message.get("content")
        if isinstance(content, list):
            content = [_fitting(Block, block) for block in content if isinstance(block, dict)]
        usage = message.get("usage")
        fields["message"] = {**message, "content": content, "usage": None}
    for name in ("toolUseResult", "tool_use_result"):
        if isinstance(fields.get(name), dict):
            fields[name] = _fitting(_Noted, fields[name])
    line: Line = _fitting(Line, fields)
    found = line.message
    if line.type == "assistant" and found is not None and found.id is not None and found.model != "<synthetic>":
        counted = read_usage(usage, "message.usage")
        rest = counted.input_tokens - counted.cached_tokens
        found.usage = Counts(rest, counted.output_tokens, 0, counted.cached_tokens)
    return line


def _fitting(type: Any, fields: dict[str, Any]) -> Any:
    """Return a record of ``type`` with those of its fields that have the right type."""
    fitting: dict[str, Any] = {}
    for name, one in {field.encode_name: field for field in msgspec.structs.fields(type)}.items():
        if name not in fields:
            continue
        value = fields[name]
        if one.type is msgspec.Raw:
            fitting[one.name] = msgspec.Raw(msgspec.json.encode(value))
            continue
        try:
            fitting[one.name] = msgspec.convert(value, one.type)
        except msgspec.ValidationError:
            continue
    return type(**fitting)


def blocks_of(message: Message) -> list[Block]:
    """Return the blocks of a message's content; plain text counts as one block."""
    content = message.content
    return [Block("text", content)] if isinstance(content, str) else content or []


def input_of(block: Block) -> Input:
    """Return the input of a tool call."""
    return _if_object(block.input, _INPUT) or Input()


def result_of(line: Line) -> Result:
    """Return what is recorded beside a tool's answer."""
    found = line.tool_use_result or line.stream_tool_use_result
    if not isinstance(found, _Noted):
        return _NO_RESULT
    task = found.task
    unfinished = found.retrieval_status in _RUNNING or (task is not None and task.status in _RUNNING)
    retrieved: tuple[str, ...] = ()
    if found.retrieval_status and not unfinished:
        retrieved = tuple(one for one in (task.task_id if task else "", *(found.agents or ())) if one)
    return Result(
        found.agent_id or found.resumed_agent_id or "",
        found.run_id or "",
        found.background_task_id or "",
        found.status in _LAUNCHED or bool(found.is_async or found.background or found.resumed_agent_id),
        retrieved,
        unfinished,
    )


def launched_in_text(block: Block) -> tuple[str, str]:
    """Return the sub-agent and the shell that an answer's text says were launched."""
    agent, shell = (found.search(bytes(block.content)) for found in (_AGENT_LAUNCHED, _SHELL_LAUNCHED))
    return agent.group(1).decode() if agent else "", shell.group(1).decode() if shell else ""


def still_running(block: Block) -> bool:
    """Return True if a tool's answer says in its text that what it waited for is still running."""
    return _STILL_RUNNING.search(bytes(block.content)) is not None


def notifications(value: Any) -> Iterator[Notification]:
    """Yield the notifications in a text that consists of nothing else."""
    if not isinstance(value, str) or not _NOTIFICATION.match(value):
        return
    for one in _NOTIFICATION.split(value)[1:]:
        task, tool, status = (found.search(one) for found in (_TASK_ID, _TOOL_ID, _STATUS))
        ended = status is None or status.group(1) not in _RUNNING
        yield Notification(task.group(1) if task else "", tool.group(1) if tool else "", ended)


def attached(line: Line) -> Iterator[Notification]:
    """Yield the notifications that came while other tools ran."""
    found: _Attachment | None = _if_object(line.attachment, _ATTACHMENT)
    if found is not None and found.type == "queued_command":
        yield from notifications(found.prompt)


def queued(line: Line) -> Iterator[Notification]:
    """Yield the notifications that were queued for the model."""
    data = bytes(line.content)
    if data.startswith(b'"') and b"-notification>" in data[:64]:
        yield from notifications(decode(data, _TEXT))


def progress_of(line: Line) -> str:
    """Return the sub-agent whose progress a record reports."""
    found: _Progress | None = _if_object(line.data, _PROGRESS)
    return text(found.agent_id) if found else ""


def stream_event(line: Line) -> tuple[str, str, Any]:
    """Return kind, message id and usage of an event in the API's stream."""
    event: _Event = _if_object(line.event, _EVENT) or _Event()
    message = event.message if isinstance(event.message, dict) else {}
    return text(event.type), text(message.get("id")), event.usage


def usage_of(line: Line) -> Any:
    """Return the usage beside a result in the stream."""
    return decode(line.usage)


def text(value: Any) -> str:
    """Return ``value`` if it is a string, otherwise an empty one."""
    return value if isinstance(value, str) else ""


def _if_object(data: msgspec.Raw, decoder: msgspec.json.Decoder[Any]) -> Any:
    return decode(data, decoder) if bytes(memoryview(data)[:1]) == b"{" else None
