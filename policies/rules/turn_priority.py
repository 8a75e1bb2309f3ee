"""`llmd-turn-priority`: deep sessions first, with credit for waiting, as llm-d's router does."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from continuum_sim.policies import Order, PolicyError, Preset, TurnView, instant, register_order, register_preset


@register_order("turn-priority")
@dataclass(frozen=True)
class TurnPriority(Order):
    """Preempted turns first, then the largest turn index + time_weight · seconds waited.

    All waits grow at the same rate, so the order of two turns never changes while they wait: the key is the score
    without the present time, and the queue need not be sorted again.
    """

    time_weight: float = field(
        default=0.5, metadata={"help": "turns of depth that one second of waiting is worth", "search": "0.001:10:log"}
    )

    def __post_init__(self) -> None:
        if not (math.isfinite(self.time_weight) and self.time_weight >= 0):
            raise PolicyError(
                f"time_weight is {self.time_weight}, expected a finite number of turns a second, 0 or more"
            )

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Return (was not preempted, −(turn index − time_weight · arrival))."""
        return (not turn.preempted, instant(self.time_weight * turn.arrival_s - turn.index))


register_preset(
    Preset(
        name="llmd-turn-priority",
        rule="Waiting turns by turn index + time_weight · seconds waited, largest first (preempted turns before "
        "all others, as the router is in front of the engine); contexts are kept as stock vLLM keeps them.",
        source="llm-d-router issue 2088 and pull request 2116; 0.5 is the default of the issue, 0.05 the one merged",
        order=TurnPriority,
    )
)
