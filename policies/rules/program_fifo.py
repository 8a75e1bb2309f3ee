"""`program-fifo`: turns queue by the arrival of their program, not by their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from continuum_sim.policies import Order, Preset, TurnView, register_order, register_preset


@register_order("program-fifo")
@dataclass(frozen=True)
class ProgramFifo(Order):
    """Preempted turns first, then by program arrival."""

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Return (was not preempted, program arrival, order in which programs were first seen)."""
        program = turn.program
        return (not turn.preempted, program.arrival_s, program.seq)


register_preset(
    Preset(
        name="program-fifo",
        rule="As lru, but waiting turns are ordered: preempted ones first, then by the arrival of their program.",
        source="Continuum (arXiv 2511.02230), program-level first come first served",
        order=ProgramFifo,
    )
)
