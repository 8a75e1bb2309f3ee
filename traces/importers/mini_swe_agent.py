"""mini-swe-agent: one trajectory per file (``*.traj.json``), versions 1 and 2.

Source: github.com/SWE-agent/mini-swe-agent, ``src/minisweagent/agents/default.py`` (``trajectory_format``
``mini-swe-agent-1.1``), ``models/litellm_model.py`` (``extra.response`` is the provider's whole response,
``extra.timestamp`` when it arrived) and ``models/utils/actions_toolcall.py`` (``extra.timestamp`` of an
observation: when its command ended). Version 1 (``run/utils/save.py``) has the same messages without times; its
last releases, as in the trajectories that github.com/batyr0601/mini-swe-agent publishes, put ``timestamp`` beside
``role`` and ``content``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, command_name, joined, make_program, tool_name
from continuum_sim.traces.importers.chat import system_prefix
from continuum_sim.traces.importers.fields import as_array, as_object, as_time, optional_array, optional_object
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, each_document
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.usage import REASONING, Usage, read_usage
from continuum_sim.traces.schema import Program

_COMMAND = re.compile(r"```(?:bash|mswea_bash_command)\s*\n(.*?)\n?```", re.DOTALL)


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    return each_document(sources, state, lambda document, source: [_program(document, source, state)])


def _program(document: Any, source: Source, state: ImportState) -> Program:
    record = as_object(document, "the file")
    messages = as_array(record.get("messages"), "messages")
    calls: list[Call] = []
    at: int | None = None
    for index, value in enumerate(messages):
        message = as_object(value, f"messages[{index}]")
        if _is_call(message):
            if at is not None:
                calls.append(_call(messages, at, index, state))
            at = index
    if at is not None:
        calls.append(_call(messages, at, len(messages), state))
    info = optional_object(record.get("info"))
    name = record.get("instance_id") or info.get("instance_id") or source.stem
    if not isinstance(name, str):
        raise TraceError("instance_id is not a string, expected the job's name")
    arrival_s = next((at for at in (_time(messages, i) for i in range(len(messages))) if at is not None), None)
    prefix = system_prefix(messages, state)
    return make_program(state.unique(name), calls, state, arrival_s=arrival_s, shared_prefix=prefix)


def _is_call(message: dict[str, Any]) -> bool:
    # Messages of the Responses API are the response itself, which has no role.
    return message.get("role") == "assistant" or message.get("object") == "response"


def _call(messages: list[Any], at: int, until: int, state: ImportState) -> Call:
    """Make the call answered by message ``at``, which the messages up to ``until`` followed."""
    message = messages[at]
    usage = _usage(message, f"messages[{at}]")
    extra = optional_object(message.get("extra"))
    following = range(at + 1, until)
    after = [optional_object(optional_object(messages[i]).get("extra")) for i in following]
    tool_s = None
    answered = _time(messages, at)
    times = [time for time in (_time(messages, i) for i in following) if time is not None]
    if times and answered is not None:
        tool_s = max(times) - answered
    elif until < len(messages):
        state.note("calls without times, gap taken as 0 s")
    return Call(
        usage.input_tokens,
        usage.output_tokens,
        cached_tokens=usage.cached_tokens,
        output_dropped=bool(usage.reasoning_tokens) and not any(message.get(name) for name in REASONING),
        tool=_tool(message, extra, after),
        tool_s=tool_s,
    )


def _time(messages: list[Any], index: int) -> float | None:
    """Return when a message was there, in seconds since 1970, or None if unknown."""
    message = optional_object(messages[index])
    extra = optional_object(message.get("extra"))
    if extra.get("timestamp") is not None:
        return as_time(extra["timestamp"], f"messages[{index}].extra.timestamp")
    if message.get("timestamp") is not None:
        return as_time(message["timestamp"], f"messages[{index}].timestamp")
    return None


def _usage(message: dict[str, Any], place: str) -> Usage:
    extra = optional_object(message.get("extra"))
    response = optional_object(extra.get("response"))
    usage, where = response.get("usage"), f"{place}.extra.response.usage"
    if usage is None and message.get("usage") is not None:
        usage, where = message["usage"], f"{place}.usage"
    return read_usage(usage, where)


def _tool(message: dict[str, Any], extra: dict[str, Any], after: list[dict[str, Any]]) -> str:
    commands = [optional_object(action).get("command") for action in optional_array(extra.get("actions"))]
    content = message.get("content")
    if not commands and isinstance(content, str):
        commands = list(_COMMAND.findall(content))
    if commands:
        return joined(command_name(command) for command in commands if isinstance(command, str))
    # No command in the answer: the agent told the model so and asked again.
    interrupted = next((e["interrupt_type"] for e in after if isinstance(e.get("interrupt_type"), str)), "")
    return tool_name(interrupted) or "retry"


def _version(head: Head) -> int:
    if not (head.has("messages") or head.has("info")) or "mini_version" not in head.names | head.top:
        return 0
    found = re.search(r'"mini_version"\s*:\s*"(\d+)', head.text)
    return int(found.group(1)) if found else 0


def _sniff_v2(head: Head) -> float:
    return (
        1.0 if _version(head) >= 2 or re.search(r'"trajectory_format"\s*:\s*"mini-swe-agent-1\.1"', head.text) else 0.0
    )


def _sniff_v1(head: Head) -> float:
    return 1.0 if _version(head) == 1 or re.search(r'"trajectory_format"\s*:\s*"mini-swe-agent-1"', head.text) else 0.0


_SOURCE = "github.com/SWE-agent/mini-swe-agent: agents/default.py, models/litellm_model.py"
_COUNTS = "input_tokens and output_tokens: usage of every response, hidden reasoning in the output"
_GAPS = "tool_s: from the response to the last observation, by their timestamps"
_ARRIVAL = "arrival_s: the first message with a timestamp"
_KEPT = "kept_tokens: from prompt lengths and reasoning_tokens (reasoning that was not sent back breaks the prefix)"
_NAMES = "tool: first word of the command, several joined by +"
_PREFIX = "shared_prefix: tokens of the system prompt are not counted without --tokenizer"

MINI_SWE_AGENT = Importer(
    name="mini-swe-agent",
    title="mini-swe-agent 2 trajectories",
    source=_SOURCE,
    patterns=("*.traj.json",),
    sniff=_sniff_v2,
    read=_read,
    measured=(_COUNTS, _GAPS, _ARRIVAL),
    derived=(_KEPT, _NAMES),
    missing=(_PREFIX,),
)

MINI_SWE_AGENT_V1 = Importer(
    name="mini-swe-agent-v1",
    title="mini-swe-agent 1 trajectories (few with times)",
    source=_SOURCE,
    patterns=("*.traj.json",),
    sniff=_sniff_v1,
    read=_read,
    measured=(_COUNTS, _GAPS, _ARRIVAL),
    derived=(_KEPT, _NAMES),
    missing=(_PREFIX,),
)
