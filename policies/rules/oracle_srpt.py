"""`oracle-srpt`: shortest remaining work first, which requires knowing how much remains."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from continuum_sim.policies import Order, PolicyError, Preset, TurnView, register_order, register_preset


@register_order("oracle-srpt")
@dataclass(frozen=True)
class OracleSrpt(Order):
    """Least remaining work first; the running turn with the most remaining work is preempted first.

    Work is counted in tokens of the program's remaining turns, including the waiting one: new prompt tokens plus
    `output_weight` times the output tokens.
    """

    oracle: ClassVar[bool] = True

    output_weight: float = field(
        default=1.0, metadata={"help": "prompt tokens that one output token counts for", "search": "0.1:1000:log"}
    )

    def __post_init__(self) -> None:
        if not (math.isfinite(self.output_weight) and self.output_weight >= 0):
            raise PolicyError(f"output_weight is {self.output_weight}, expected a finite number, 0 or more")

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Return (remaining work, program arrival, order in which programs were first seen)."""
        program = turn.program
        return (self.work(turn), program.arrival_s, program.seq)

    def victim(self, running: Sequence[TurnView]) -> int:
        """Return the turn of the program with the most work left; the one admitted last on ties."""
        return max(range(len(running)), key=lambda at: (self.work(running[at]), at))

    def work(self, turn: TurnView) -> float:
        """Return the tokens that remain from the arrival of this turn on, with outputs weighted."""
        foresight = turn.program.foresight
        if foresight is None:
            return 0.0
        outputs = foresight.remaining_output_tokens
        return foresight.remaining_tokens - outputs + self.output_weight * outputs


register_preset(
    Preset(
        name="oracle-srpt",
        rule="Waiting turns by the work their program has left (tokens of its remaining turns), least first; "
        "contexts are kept as stock vLLM keeps them. Looks ahead: simulator only.",
        source="shortest remaining processing time (Schrage, Operations Research 16(3), 1968), over programs",
        order=OracleSrpt,
    )
)
