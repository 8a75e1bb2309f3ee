"""Pins that are only the last in eviction order: anything that needs a block may break them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from continuum_sim.policies.planes import Retention
from continuum_sim.policies.views import Moment, ProgramView, TurnView, instant


@dataclass(frozen=True)
class SoftPins(Retention):
    """Retention whose pins yield to every waiting turn that does not fit and to every running one that grows.

    A subclass says how long pins last and may choose another victim. Nothing can deadlock on such pins, and no
    turn is preempted while there are any. The blocks of a broken pin are freed behind all others, so they are
    evicted last and tail first, as far as the space is needed.
    """

    steady: ClassVar[bool] = True  # never refuses
    yields_to_growth: ClassVar[bool] = True

    def pin_to_break(self, pinned: Sequence[ProgramView], head: TurnView, moment: Moment) -> ProgramView | None:
        """Least recently used context: the one whose turn ended first."""
        return min(pinned, key=_pinned_since)


def _pinned_since(program: ProgramView) -> float:
    assert program.pin is not None
    return instant(program.pin.made_s)
