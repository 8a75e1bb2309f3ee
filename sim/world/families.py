"""The sub-agents of a program in simulated time: started by some turns, awaited by later ones."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias

import simpy

from continuum_sim.traces.schema import Child, Program

Serve: TypeAlias = Callable[[Program, float], Generator[simpy.Event, Any, float]]
"""Serves a program from a time in seconds on; returns the time of its end."""


class SubAgents:
    """The children of one program."""

    def __init__(self, env: simpy.Environment, children: Sequence[Child], serve: Serve) -> None:
        self._env = env
        self._serve = serve
        self._starting: dict[int, list[Child]] = {}
        self._awaited: dict[int | None, list[simpy.Process]] = {}
        """Running children by the turn that waits for them (None: the end of the program)."""
        for child in children:
            self._starting.setdefault(child.after_turn, []).append(child)

    def start(self, turn: int, now_s: float) -> None:
        """Start the children of a turn that has ended."""
        for child in self._starting.pop(turn, ()):
            process = self._env.process(self._serve(child.program, now_s))
            self._awaited.setdefault(child.join_turn, []).append(process)

    def join(self, turn: int | None, now_s: float) -> Generator[simpy.Event, Any, float]:
        """Wait for the children that a turn (None: the end) needs; return when the last of them ended, or `now_s`."""
        children = self._awaited.pop(turn, None)
        if children is None:
            return now_s
        ended = yield self._env.all_of(children)
        ended_s: list[float] = list(ended.values())
        return max(now_s, *ended_s)
