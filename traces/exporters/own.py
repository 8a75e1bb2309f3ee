"""Our key for what a format has no field for; `continuum_sim.traces.importers.own` reads it back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

from continuum_sim.traces.importers.own import OWN
from continuum_sim.traces.schema import STOP, Program, Turn
from continuum_sim.traces.write import program_record

__all__ = ["OWN", "family", "own_program", "own_turn"]


def own_program(program: Program) -> dict[str, Any]:
    """Return our record of a program as a whole."""
    own: dict[str, Any] = {}
    if program.arrival_s is not None:
        own["arrival_s"] = float(program.arrival_s)
    if program.shared_prefix is not None:
        own["shared_prefix"] = {"id": program.shared_prefix.id, "tokens": program.shared_prefix.tokens}
    if program.priority:
        own["priority"] = program.priority
    if program.children:
        own["children"] = program_record(program)["children"]
    return own


def family(program: Program) -> Iterator[tuple[Program, dict[str, Any]]]:
    """Yield a program and its sub-agents, each with our record of it as a whole.

    Formats without sub-agents hold them as separate conversations, for other tools to replay; our record of the first
    one includes them.
    """
    yield program, own_program(program)
    for member in islice(program.family(), 1, None):
        yield member, {**own_program(replace(member, children=())), "sub_agent_of": program.program_id}


def own_turn(turn: Turn) -> dict[str, Any]:
    """Return our record of a turn: its kept tokens, and its tool with the exact time."""
    own: dict[str, Any] = {"kept_tokens": turn.kept_tokens}
    if turn.tool is not None:
        own |= {"tool": turn.tool, "tool_s": float(turn.tool_s)}
    if turn.tools:
        own["tools"] = [{"tool": call.tool, "tool_s": float(call.tool_s)} for call in turn.tools]
    if turn.finish != STOP:
        own["finish"] = turn.finish
    if turn.mean_acceptance_length is not None:
        own["mean_acceptance_length"] = turn.mean_acceptance_length
    return own
