"""SWE-agent: one trajectory per file (``*.traj``).

Source: github.com/SWE-agent/SWE-agent, ``sweagent/types.py`` (``TrajectoryStep``: ``query`` is the exact prompt since
1.1.0, ``messages`` in 1.0; ``response``, ``action``, ``execution_time``) and ``docs/usage/trajectories.md``. The only
counts are sums over a run (``info.model_stats``), so tokens are counted in the text.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, command_name, make_program
from continuum_sim.traces.importers.chat import message_text, system_prefix
from continuum_sim.traces.importers.fields import as_array, as_object, as_seconds, refuse
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.prefixes import common
from continuum_sim.traces.importers.sources import Source, each_document
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    return each_document(sources, state, lambda document, source: [_program(document, source, state)])


def _program(document: Any, source: Source, state: ImportState) -> Program:
    steps = as_array(as_object(document, "the file").get("trajectory"), "trajectory")
    calls: list[Call] = []
    before: list[int] = []
    first: list[Any] = []
    for index, value in enumerate(steps):
        place = f"trajectory[{index}]"
        step = as_object(value, place)
        name = "query" if "query" in step else "messages"
        if name not in step:
            raise TraceError(
                f"{place}.query is missing, expected the prompt (SWE-agent records it since 1.1.0, in 1.0 as messages)"
            )
        query = as_array(step[name], f"{place}.{name}")
        if not query or query == [{}]:
            continue  # a step without a call, such as a forced submission
        response = step.get("response")
        if not isinstance(response, str):
            refuse(f"{place}.response", response, "a string")
        first = first or query
        prompt, output = _tokens(query, response, state)
        action = step.get("action")
        calls.append(
            Call(
                max(1, len(prompt)),
                len(output),
                kept_tokens=common(before, prompt),
                tool=command_name(action) if isinstance(action, str) and action.strip() else "retry",
                tool_s=as_seconds(step.get("execution_time", 0.0), f"{place}.execution_time"),
            )
        )
        before = prompt + output
    return make_program(state.unique(source.stem), calls, state, shared_prefix=system_prefix(first, state))


def _tokens(query: list[Any], response: str, state: ImportState) -> tuple[list[int], list[int]]:
    tokens = state.needed_tokens("a SWE-agent trajectory")
    # Message by message, so that a prompt that continues another begins with its tokens.
    prompt: list[int] = []
    for message in query:
        text = message_text(message)
        if isinstance(message, dict) and message.get("role") == "assistant":
            # As generated: the template adds the role, and tool calls are separate from the text.
            text = text.removeprefix("assistant\n")
        prompt += tokens.ids(text)
    return prompt, tokens.ids(response)


def _sniff(head: Head) -> float:
    if head.has("trajectory") and {"action", "observation"} <= head.names:
        return 1.0 if {"response", "thought"} & head.names else 0.8
    return 0.0


SWE_AGENT = Importer(
    name="swe-agent",
    title="SWE-agent trajectories",
    source="github.com/SWE-agent/SWE-agent: sweagent/types.py, docs/usage/trajectories.md",
    patterns=("*.traj",),
    sniff=_sniff,
    read=_read,
    measured=("tool_s: execution_time of every step",),
    derived=(
        "input_tokens and output_tokens: counted in the text with --tokenizer (chat template left out)",
        "kept_tokens: leading tokens that the prompt has in common with the prompt and response before",
        "tool: first word of the action",
        "shared_prefix: the system prompt",
    ),
    missing=("token counts per call: the file has text and the run's sums only", "arrival_s"),
)
