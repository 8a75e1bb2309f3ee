"""Pins that only come last in eviction order: whatever needs a block may break them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from continuum_sim.policies.planes import Retention
from continuum_sim.policies.views import Moment, ProgramView, TurnView, instant


@dataclass(frozen=True)
class SoftPins(Retention):
    """Retention whose pins yield to every waiting turn that does not fit and to every running turn that lacks a block.

    A subclass says how long pins last and may change which one is broken first. Such pins cannot cause a deadlock,
    and no turn is preempted while there are any. The blocks of a broken pin go to the end of the free queue, so they
    are evicted last, tail first, and only as far as the space is needed.
    """

    steady: ClassVar[bool] = True  # never refuses
    yields_to_growth: ClassVar[bool] = True

    def pin_to_break(self, pinned: Sequence[ProgramView], head: TurnView, moment: Moment) -> ProgramView | None:
        """Return the program with the least recently used context: the one whose turn ended first."""
        return min(pinned, key=_pinned_since)


def _pinned_since(program: ProgramView) -> float:
    assert program.pin is not None
    return instant(program.pin.made_s)
