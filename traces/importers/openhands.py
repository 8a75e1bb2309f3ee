"""OpenHands: evaluation output, one instance per line (``output.jsonl``), and a conversation's events (``.json``).

Source: github.com/All-Hands-AI/OpenHands, ``evaluation/utils/shared.py`` (``EvalOutput``),
``openhands/events/serialization/event.py`` (an event's ``id``, ``timestamp``, ``cause``, ``tool_call_metadata``) and
``openhands/llm/metrics.py`` (``token_usages``: one per call, with ``response_id``; later versions keep only the last
500). Events of the SDK (github.com/OpenHands/software-agent-sdk, ``openhands/sdk/event``) name the response in
``llm_response_id``, the tool in ``tool_name`` and the action that an observation answers in ``action_id``.

A trajectory (written by ``SAVE_TRAJECTORY_PATH`` and the download, ``openhands/core/main.py``) is a list of events of
version 0: the counts of a call are in ``tool_call_metadata.model_response.usage`` of its actions; for a call without
a tool, they are the growth of ``llm_metrics.accumulated_token_usage``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.fields import (
    as_array,
    as_count,
    as_object,
    as_text,
    as_time,
    optional_array,
    optional_object,
)
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, each_value
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.usage import REASONING, Usage, read_usage
from continuum_sim.traces.schema import Program

_MOST_USAGES: Final = 500
_ACCUMULATED: Final = ("prompt_tokens", "completion_tokens", "cache_read_tokens")


@dataclass
class _Step:
    """What followed one response: its tools, when they were called and when the last of them answered."""

    names: list[str] = field(default_factory=list)
    called: float = float("inf")
    answered: float = float("-inf")


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    for source, number, value in each_value(sources, state):
        events = isinstance(value, list) and not any(isinstance(one, dict) and "instance_id" in one for one in value)
        for item in [value] if events or not isinstance(value, list) else value:
            try:
                program = _trajectory(item, source.stem, state) if events else _program(item, state)
            except TraceError as error:
                state.bad(error, source.path, number)
                continue
            yield program


def _program(value: Any, state: ImportState) -> Program:
    record = as_object(value, "the line")
    name = as_text(record.get("instance_id"), "instance_id")
    metrics = as_object(record.get("metrics"), "metrics")
    usages = as_array(metrics.get("token_usages"), "metrics.token_usages")
    if len(usages) == _MOST_USAGES:
        state.note("programs with 500 calls, where OpenHands drops earlier ones")
    steps = _steps(as_array(record.get("history"), "history"))
    calls: list[Call] = []
    for index, item in enumerate(usages):
        place = f"metrics.token_usages[{index}]"
        usage = as_object(item, place)
        prompt = as_count(usage.get("prompt_tokens"), f"{place}.prompt_tokens", 1)
        output = as_count(usage.get("completion_tokens"), f"{place}.completion_tokens")
        cached = min(prompt, as_count(usage.get("cache_read_tokens", 0), f"{place}.cache_read_tokens"))
        response = usage.get("response_id")
        step = steps.get(response) if isinstance(response, str) else None
        if step is None or step.answered == float("-inf"):
            if index < len(usages) - 1:
                state.note("calls without a tool's answer in the events, gap taken as 0 s")
            names = joined(step.names) if step else "message"
            calls.append(Call(prompt, output, cached_tokens=cached, tool=names, tool_s=None))
        else:
            gap = step.answered - step.called
            calls.append(Call(prompt, output, cached_tokens=cached, tool=joined(step.names), tool_s=gap))
    return make_program(state.unique(name), calls, state)


def _trajectory(events: list[Any], name: str, state: ImportState) -> Program:
    steps = _steps(events)
    calls: list[Call] = []
    taken: set[str] = set()
    accumulated = (0, 0, 0)
    spoke: float | None = None
    for index, value in enumerate(events):
        place = f"[{index}]"
        event = as_object(value, place)
        at = None if event.get("timestamp") is None else as_time(event["timestamp"], f"{place}.timestamp")
        if event.get("source") == "user" and spoke is not None and at is not None and calls:
            calls[-1] = msgspec.structs.replace(calls[-1], tool="human", tool_s=at - spoke)
        if event.get("source") != "agent" or "action" not in event:
            continue
        response = optional_object(optional_object(event.get("tool_call_metadata")).get("model_response"))
        before, accumulated = accumulated, _accumulated(event, f"{place}.llm_metrics", accumulated)
        key = str(response.get("id") or place)
        usage: Usage | None = None
        if response.get("usage") is not None and key not in taken:
            usage = read_usage(response["usage"], f"{place}.tool_call_metadata.model_response.usage")
        elif not response and accumulated[0] > before[0]:
            prompt, output, cached = (max(0, new - old) for new, old in zip(accumulated, before, strict=True))
            usage = Usage(prompt, output, min(prompt, cached))
        if usage is None:
            continue
        taken.add(key)
        step = steps.get(key, _Step())
        answered = step.answered > float("-inf")
        spoke = None if response else at
        calls.append(
            Call(
                usage.input_tokens,
                usage.output_tokens,
                cached_tokens=usage.cached_tokens,
                output_dropped=bool(usage.reasoning_tokens) and not _shows_reasoning(response),
                tool=joined(step.names) or "message",
                tool_s=step.answered - step.called if answered else None,
            )
        )
    if not calls:
        raise TraceError(
            "no token counts in the events, expected tool_call_metadata.model_response.usage or llm_metrics (only "
            "those of OpenHands 0.x have them)"
        )
    times = (event["timestamp"] for event in events if event.get("timestamp") is not None)
    first = next(times, None)
    arrival_s = None if first is None else as_time(first, "[0].timestamp")
    return make_program(state.unique(name), calls, state, arrival_s=arrival_s)


def _accumulated(event: dict[str, Any], place: str, before: tuple[int, ...]) -> tuple[int, int, int]:
    found = optional_object(optional_object(event.get("llm_metrics")).get("accumulated_token_usage"))
    if not found:
        return before[0], before[1], before[2]
    prompt, output, cached = (as_count(found.get(name) or 0, f"{place}.{name}") for name in _ACCUMULATED)
    return prompt, output, cached


def _shows_reasoning(response: dict[str, Any]) -> bool:
    """Return True if the answer holds its reasoning, so that it may be sent back."""
    choices = optional_array(response.get("choices"))
    messages = (optional_object(optional_object(one).get("message")) for one in choices)
    return any(message.get(name) for message in messages for name in REASONING)


def _steps(history: list[Any]) -> dict[str, _Step]:
    steps: dict[str, _Step] = {}
    of_event: dict[int | str, _Step] = {}
    for index, value in enumerate(history):
        place = f"history[{index}]"
        event = as_object(value, place)
        meta = optional_object(event.get("tool_call_metadata"))
        if "observation" in event:
            cause = event.get("action_id", event.get("cause"))
            step = of_event.get(cause) if isinstance(cause, int | str) else None
            if step is not None and event.get("timestamp") is not None:
                step.answered = max(step.answered, as_time(event["timestamp"], f"{place}.timestamp"))
        elif "action" in event:
            response = event.get("llm_response_id", optional_object(meta.get("model_response")).get("id"))
            if not isinstance(response, str):
                continue
            step = steps.setdefault(response, _Step())
            name = meta.get("function_name") or event.get("tool_name") or event["action"]
            step.names.append(name if isinstance(name, str) else "unknown")
            if event.get("timestamp") is not None:
                step.called = min(step.called, as_time(event["timestamp"], f"{place}.timestamp"))
            if isinstance(event.get("id"), int | str):
                of_event[event["id"]] = step
    return steps


def _sniff(head: Head) -> float:
    if head.has("id", "timestamp", "source", "action") and head.text.lstrip().startswith("["):
        return 0.95
    if not head.has("instance_id"):
        return 0.0
    return min(
        1.0,
        0.25 + 0.25 * sum(head.has(name) for name in ("metadata", "instruction", "test_result", "history", "metrics")),
    )


OPENHANDS = Importer(
    name="openhands",
    title="OpenHands output.jsonl and trajectories",
    source="github.com/All-Hands-AI/OpenHands: openhands/events/serialization/event.py, openhands/llm/metrics.py",
    patterns=("output*.jsonl", "*trajectory*.json"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: metrics.token_usages, or usage of every response",
        "tool_s: from a response's first action to its last observation, by their timestamps",
        "tool: function names of the calls, several joined by +",
        "arrival_s: first event of a trajectory, from the earliest on",
    ),
    derived=(
        "kept_tokens: from prompt lengths and, in trajectories, reasoning_tokens (hidden reasoning breaks the prefix); "
        "after a shorter prompt (condensed), what the provider's cache gave",
    ),
    missing=("shared_prefix",),
)
