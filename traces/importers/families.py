"""Put sub-agents into the programs that started them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from continuum_sim.traces.check import check_program
from continuum_sim.traces.schema import Child, Program


@dataclass(frozen=True, slots=True)
class Started:
    """A sub-agent that a log links to its parent: the turn that started it, and the one that waited for it, if any."""

    program: Program
    after_turn: int
    join_turn: int | None


def with_children(parent: Program, started: Sequence[Started]) -> Program:
    """Return the parent with its sub-agents, in the order in which they started.

    The gap before a turn that waits for a sub-agent must hold only the parent's own tools: the simulation
    determines how long the sub-agent takes.

    Raises
    ------
    TraceError
        If a rule of the format is broken, such as the limit on the depth of sub-agents.
    """
    if not started:
        return parent
    in_order = sorted(started, key=lambda one: one.after_turn)
    children = tuple(Child(replace(one.program, arrival_s=None), one.after_turn, one.join_turn) for one in in_order)
    program = replace(parent, children=children)
    check_program(program)
    return program
