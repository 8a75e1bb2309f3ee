"""ATIF, the Agent Trajectory Interchange Format of Harbor (Terminal-Bench): one trajectory per file.

Source: github.com/laude-institute/harbor, ``docs/rfcs/0001-trajectory-format.md`` (versions 1.0 to 1.7; read in the
copy of github.com/OpenAgentsInc/openagents, ``docs/atif``). A step of the agent is an LLM call if its ``metrics`` have
counts: ``prompt_tokens`` (cached part included), ``completion_tokens`` (reasoning included), ``cached_tokens``;
converters that write one step per event attach them to one of the call's steps. Tools are in ``tool_calls``. The format
records no tool times, only when each step was recorded, so gaps run from step to step and include the next request.
Steps present for context only (``is_copied_context``) were served in another trajectory. Sub-agents are
trajectories of their own, in ``subagent_trajectories`` if they are in the same file, and named by an observation
(``subagent_trajectory_ref``) of the step that waited for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from continuum_sim.traces.check import MAX_DEPTH
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.calls import Call, joined, make_program
from continuum_sim.traces.importers.families import Started, with_children
from continuum_sim.traces.importers.fields import as_count, as_time, optional_array, optional_object
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source, each_document
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.importers.values import reader
from continuum_sim.traces.schema import Program


class _ToolCall(msgspec.Struct):
    function_name: Any = None
    name: Any = None


class _Result(msgspec.Struct):
    subagent_trajectory_ref: Any = None


class _Observation(msgspec.Struct):
    results: list[_Result] | None = None


class _Metrics(msgspec.Struct):
    prompt_tokens: Any = None
    completion_tokens: Any = None
    cached_tokens: Any = None


class _Step(msgspec.Struct):
    source: Any = None
    timestamp: Any = None
    tool_calls: list[_ToolCall] | None = None
    observation: msgspec.Raw = msgspec.Raw()
    metrics: _Metrics | None = None
    is_copied_context: Any = None
    llm_call_count: Any = None
    extra: Any = None


class _Trajectory(msgspec.Struct):
    steps: list[_Step]
    schema_version: Any = None
    session_id: Any = None
    trajectory_id: Any = None
    final_metrics: Any = None
    subagent_trajectories: list[_Trajectory] | None = None


_trajectory, _observation = reader(_Trajectory), reader(_Observation)


def _read(sources: Iterable[Source], state: ImportState) -> Iterator[Program]:
    def convert(found: _Trajectory, source: Source) -> list[Program]:
        return _programs(found, source.stem, state)

    return each_document(sources, state, convert, _trajectory)


def _programs(found: _Trajectory, stem: str, state: ImportState) -> list[Program]:
    apart: list[Program] = []
    side = [step for step in found.steps if optional_object(step.extra).get("is_sidechain") is True]
    steps = [step for step in found.steps if optional_object(step.extra).get("is_sidechain") is not True]
    main = _program(found, steps, _names(found, stem)[0], state, apart, 0)
    if any(_is_call(step) for step in side):
        state.note("sub-agents that no turn is known to have started, imported as programs of their own")
        alone = msgspec.structs.replace(found, subagent_trajectories=None, final_metrics=None)
        apart.append(_program(alone, side, f"{main.program_id}/sidechain", state, apart, 0))
    return [main, *apart]


def _names(found: _Trajectory, stem: str) -> list[str]:
    """Return a trajectory's own name and the names by which others refer to it."""
    names = [one for one in (found.trajectory_id, found.session_id) if isinstance(one, str) and one]
    return [names[-1] if names else stem, *names]


def _program(
    found: _Trajectory, steps: list[_Step], name: str, state: ImportState, apart: list[Program], depth: int
) -> Program:
    """Make the program of a trajectory with the sub-agents that one of its steps waited for; others go to ``apart``."""
    calls: list[int] = []
    referred: dict[str, int] = {}
    copied = 0
    for index, step in enumerate(steps):
        if step.is_copied_context is True:
            copied += _is_call(step)
        elif _is_call(step):
            calls.append(index)
        for other in _referred(step) if calls else []:
            referred.setdefault(other, len(calls) - 1)
    if copied:
        state.note("steps copied from another trajectory, left out", copied)
    children = found.subagent_trajectories or []
    if children and depth == MAX_DEPTH:
        raise TraceError(f"sub-agents are nested too deeply, expected at most {MAX_DEPTH} levels")
    own = state.unique(name)
    started: list[Started] = []
    for number, child in enumerate(children):
        names = _names(child, f"{number + 1}")
        after = next((referred[one] for one in names if one in referred), None)
        program = _program(child, child.steps, f"{own}/{names[0]}", state, apart, depth + 1)
        if after is None:
            state.note("sub-agents that no turn is known to have started, imported as programs of their own")
            apart.append(program)
        else:
            started.append(Started(program, after, after + 1 if after + 1 < len(calls) else None))
    waits = {one.join_turn for one in started}
    made = [
        _call(steps, at, calls[i + 1] if i + 1 < len(calls) else None, i + 1 in waits, state)
        for i, at in enumerate(calls)
    ]
    if depth == 0:
        _compare(found, made, state)
    times = (as_time(step.timestamp, "steps: timestamp") for step in steps if step.timestamp is not None)
    return with_children(make_program(own, made, state, arrival_s=next(times, None)), started)


def _referred(step: _Step) -> Iterator[str]:
    """Yield the names of the sub-agents that a step's observation refers to; some writers put text there."""
    if bytes(memoryview(step.observation)[:1]) != b"{":
        return
    for result in _observation(step.observation).results or []:
        for ref in optional_array(result.subagent_trajectory_ref):
            found = (optional_object(ref).get(key) for key in ("trajectory_id", "session_id"))
            yield from (one for one in found if isinstance(one, str))


def _is_call(step: _Step) -> bool:
    metrics = step.metrics
    return step.source == "agent" and metrics is not None and step.llm_call_count != 0 and bool(metrics.prompt_tokens)


def _call(steps: list[_Step], at: int, until: int | None, waits: bool, state: ImportState) -> Call:
    """Make the call of step ``at``; its tools are those of the steps up to ``until``, the next call."""
    place, metrics = f"steps[{at}].metrics", steps[at].metrics
    assert metrics is not None
    prompt = as_count(metrics.prompt_tokens, f"{place}.prompt_tokens", 1)
    output = as_count(metrics.completion_tokens or 0, f"{place}.completion_tokens")
    cached = min(prompt, as_count(metrics.cached_tokens or 0, f"{place}.cached_tokens"))
    if type(steps[at].llm_call_count) is int and steps[at].llm_call_count > 1:
        state.note("steps that sum up several calls, taken as one")
    names: list[str] = []
    gap_s: float | None = None
    if until is not None:
        between = steps[at + 1 : until]
        for step in (steps[at], *(one for one in between if one.source == "agent")):
            named = (one.function_name or one.name for one in step.tool_calls or [])
            names += [name for name in named if isinstance(name, str)]
        humans = [one for one in between if one.source == "user"]
        if humans:
            names.append("human")
        if waits:
            gap_s = 0.0
        elif steps[at].timestamp is not None and (following := (humans or [steps[until]])[-1]).timestamp is not None:
            began = as_time(steps[at].timestamp, f"steps[{at}].timestamp")
            gap_s = as_time(following.timestamp, f"steps[{until}].timestamp") - began
            if not humans:
                state.note("gaps between steps, the time for the request itself included")
        else:
            state.note("steps without times, gap taken as 0 s")
    return Call(prompt, output, cached_tokens=cached, tool=joined(names) or "client", tool_s=gap_s)


def _compare(found: _Trajectory, calls: list[Call], state: ImportState) -> None:
    """Note a mismatch with the file's own sums: a call is missing, or there is one too many."""
    final = optional_object(found.final_metrics)
    sums = {
        "total_prompt_tokens": sum(call.input_tokens for call in calls),
        "total_completion_tokens": sum(call.output_tokens for call in calls),
    }
    if any(type(final.get(name)) is int and final[name] != own for name, own in sums.items()):
        state.note("trajectories whose final_metrics are not the sums of their steps")


def _sniff(head: Head) -> float:
    if '"ATIF-v' in head.text and head.has("schema_version"):
        return 1.0
    return 0.8 if head.has("session_id", "agent", "steps") and "step_id" in head.names else 0.0


ATIF = Importer(
    name="atif",
    title="ATIF trajectories (Harbor, Terminal-Bench)",
    source="github.com/laude-institute/harbor: docs/rfcs/0001-trajectory-format.md",
    patterns=("*trajectory*.json", "*atif*.json"),
    sniff=_sniff,
    read=_read,
    measured=(
        "input_tokens and output_tokens: metrics of the agent's steps, cached part and reasoning included",
        "tool: function names of the calls, several joined by +, and human where a user's message came",
        "arrival_s: time of a trajectory's first step, from the earliest on",
    ),
    derived=(
        "tool_s: from step to step, the time for the next request included; to the user's message where one came",
        "kept_tokens: from prompt lengths; after a shorter prompt, cached_tokens",
        "children: trajectories in the file, from the step that refers to them to the next call",
    ),
    missing=("tool_s by itself: when a tool ended is not in the format", "shared_prefix"),
)
