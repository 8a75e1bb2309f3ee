"""Queue order of the Continuum family: preempted turns, then those whose context is pinned, then program FIFO."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from continuum_sim.policies.planes import Order
from continuum_sim.policies.registry import register_order
from continuum_sim.policies.views import TurnView


@register_order("pinned-first")
@dataclass(frozen=True)
class PinnedFirst(Order):
    """Preempted first, then programs with a live pin, then program arrival (Continuum, arXiv 2511.02230)."""

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Return (was not preempted, has no live pin, program arrival, order in which programs were first seen)."""
        program = turn.program
        return (not turn.preempted, program.pin is None, program.arrival_s, program.seq)
