"""Rules for tests: base classes, a recorder of what they saw, and temporary names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

from continuum_sim.policies.planes import Decision, Order, PinFor, Retention
from continuum_sim.policies.registry import PLANES, PRESETS
from continuum_sim.policies.views import Moment, ProgramView, TurnView


@contextmanager
def registered(**planes: Mapping[str, type]) -> Iterator[None]:
    """Register rules temporarily: `registered(order={"oldest-yields": OldestYields})`.

    Anything else registered meanwhile is removed with them.
    """
    tables = [PRESETS, *PLANES.values()]
    before = [dict(table) for table in tables]
    try:
        for plane, rules in planes.items():
            for name, rule in rules.items():
                PLANES[plane].add(name, rule)
        yield
    finally:
        for table, known in zip(tables, before, strict=True):
            table.clear()
            table.update(known)


class Recorder(list[tuple[Any, ...]]):
    """What a rule saw, in order. A rule is frozen and shared by all runs, so give each run a rule with its own."""

    def look(self, what: str, moment: Moment) -> None:
        """Record the engine's state: (what, time in s, free blocks, turns running, turns waiting)."""
        view = moment.engine
        self.append((what, round(moment.now_s, 6), view.free_blocks, view.num_running, view.num_waiting))


@dataclass(frozen=True)
class OldestYields(Order):
    """Preempts the turn admitted first, which already has its tokens of the step; vLLM's own FCFS never does that."""

    def victim(self, running: Sequence[TurnView]) -> int:
        return 0


@dataclass(frozen=True)
class Reviewed(Retention):
    """Pins every context without expiry and leaves the pins to `review`."""

    steady: ClassVar[bool] = True

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        return PinFor(float("inf"))
