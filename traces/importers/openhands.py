"""OpenHands evaluation output: one instance a line (``output.jsonl``), events of version 0 or of its SDK (version 1).

Source: github.com/All-Hands-AI/OpenHands, ``evaluation/utils/shared.py`` (``EvalOutput``),
``openhands/events/serialization/event.py`` (an event's ``id``, ``timestamp``, ``cause``, ``tool_call_metadata``) and
``openhands/llm/metrics.py`` (``token_usages``: one a call, with ``response_id``; from some version on the last 500
only). Events of the SDK (github.com/OpenHands/software-agent-sdk, ``openhands/sdk/event``) name the response in
``llm_response_id``, the tool in ``tool_name`` and the action that an observation answers in ``action_id``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.fields import as_array, as_count, as_object, as_text, as_time, optional_object
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.session import Session
from continuum_sim.traces.importers.sources import Source, each_program
from continuum_sim.traces.schema import Program

_MOST_USAGES = 500


@dataclass
class _Step:
    """What followed one response: its tools, when they were called and when the last of them had answered."""

    names: list[str] = field(default_factory=list)
    called: float = float("inf")
    answered: float = float("-inf")


def _read(sources: Iterable[Source], session: Session) -> Iterator[Program]:
    return each_program(sources, session, _program)


def _program(value: Any, session: Session) -> Program:
    record = as_object(value, "the line")
    name = as_text(record.get("instance_id"), "instance_id")
    metrics = as_object(record.get("metrics"), "metrics")
    usages = as_array(metrics.get("token_usages"), "metrics.token_usages")
    if len(usages) == _MOST_USAGES:
        session.note("programs with 500 calls, where OpenHands drops earlier ones")
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
                session.note("calls without a tool's answer in the events, gap taken as 0 s")
            calls.append(Call(prompt, output, cached_tokens=cached, tool=joined(step.names) if step else "message"))
        else:
            gap = step.answered - step.called
            calls.append(Call(prompt, output, cached_tokens=cached, tool=joined(step.names), tool_s=gap))
    return make_program(session.unique(name), calls, session)


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
    if not head.has("instance_id"):
        return 0.0
    return min(
        1.0,
        0.25 + 0.25 * sum(head.has(name) for name in ("metadata", "instruction", "test_result", "history", "metrics")),
    )


OPENHANDS = Importer(
    name="openhands",
    title="OpenHands output.jsonl",
    source="github.com/All-Hands-AI/OpenHands: openhands/events/serialization/event.py, openhands/llm/metrics.py",
    patterns=("output*.jsonl",),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: metrics.token_usages",
        "tool_s: from a response's first action to its last observation, by their timestamps",
        "tool: function names of the calls, several joined by +",
    ),
    derived=("kept_tokens: from prompt lengths; after a shorter prompt (condensed), what the provider's cache gave",),
    missing=("arrival_s", "shared_prefix"),
)
