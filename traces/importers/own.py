"""What our exporters add to another format, so that importing it loses nothing.

It is one object named ``continuum_sim``, in a place that the format's other readers ignore, with those fields
of our own format that the other one lacks. It never overrides a field of the other format.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import msgspec

from continuum_sim.traces.check import check_program
from continuum_sim.traces.decode import decode_children
from continuum_sim.traces.importers.calls import Call
from continuum_sim.traces.importers.fields import as_array, as_count, as_object, as_seconds, as_text
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program, SharedPrefix, ToolCall

OWN: Final = "continuum_sim"
_NEAR: Final = 1e-9
"""Durations closer than this, relatively, are the same number written in different units."""


def own_call(call: Call, own: dict[str, Any], index: int, state: ImportState) -> Call:
    """Return the call with what ``own`` (for a whole program, its turns in arrays) knows about it."""
    if not own:
        return call
    turns = as_array(own.get("turns"), f"{OWN}.turns")
    return refined(call, turns[index] if index < len(turns) else None, f"{OWN}.turns[{index}]", state)


def refined(call: Call, value: Any, place: str, state: ImportState) -> Call:
    """Return the call with what our object knows about it, if there is one."""
    if value is None:
        return call
    own = as_object(value, place)
    state.note("turns with what an export from continuum-sim had written beside the format's fields")
    if own.get("kept_tokens") is not None:
        call = msgspec.structs.replace(call, kept_tokens=as_count(own["kept_tokens"], f"{place}.kept_tokens"))
    if own.get("tool") is not None:
        call = msgspec.structs.replace(call, tool=as_text(own["tool"], f"{place}.tool"))
    if own.get("tools") is not None:
        calls = [as_object(value, f"{place}.tools") for value in as_array(own["tools"], f"{place}.tools")]
        names = [as_text(value.get("tool"), f"{place}.tools.tool") for value in calls]
        times = [as_seconds(value.get("tool_s"), f"{place}.tools.tool_s") for value in calls]
        call = msgspec.structs.replace(call, tools=tuple(map(ToolCall, names, times)))
    if own.get("finish") is not None:
        call = msgspec.structs.replace(call, finish=as_text(own["finish"], f"{place}.finish"))
    if own.get("mean_acceptance_length") is not None:
        length = as_seconds(own["mean_acceptance_length"], f"{place}.mean_acceptance_length")
        call = msgspec.structs.replace(call, mean_acceptance_length=length)
    if own.get("tool_s") is not None:
        # More exact than the same number in milliseconds; but if someone changed that number, the change counts.
        exact = as_seconds(own["tool_s"], f"{place}.tool_s")
        written_s = call.tool_s or 0.0
        if abs(exact - written_s) <= _NEAR * max(exact, written_s, 1e-9):
            call = msgspec.structs.replace(call, tool_s=exact)
        else:
            call = msgspec.structs.replace(call, tools=())
    return call


def own_arrival(own: dict[str, Any]) -> float | None:
    """Return the arrival time in ``own``."""
    value = own.get("arrival_s")
    return None if value is None else as_seconds(value, f"{OWN}.arrival_s")


def with_own_rest(program: Program, own: dict[str, Any]) -> Program:
    """Return the program with the sub-agents and the priority in ``own``."""
    rest: dict[str, Any] = {}
    if own.get("children") is not None:
        rest["children"] = decode_children(own["children"])
    if own.get("priority") is not None:
        rest["priority"] = own["priority"]
    if not rest:
        return program
    program = replace(program, **rest)
    check_program(program)
    return program


def own_parent(own: Any) -> bool:
    """Return True for a sub-agent, which is part of the program that started it."""
    return isinstance(own, dict) and own.get("sub_agent_of") is not None


def own_prefix(own: dict[str, Any]) -> SharedPrefix | None:
    """Return the shared prefix in ``own``."""
    value = own.get("shared_prefix")
    if value is None:
        return None
    prefix = as_object(value, f"{OWN}.shared_prefix")
    return SharedPrefix(
        as_text(prefix.get("id"), f"{OWN}.shared_prefix.id"),
        as_count(prefix.get("tokens"), f"{OWN}.shared_prefix.tokens", 1),
    )
