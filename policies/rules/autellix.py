"""`autellix`: programs that have received the least service first, in a multi-level queue (PLAS)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from continuum_sim.policies import (
    SAME_INSTANT_S,
    Order,
    PolicyError,
    Preset,
    TurnView,
    instant,
    register_order,
    register_preset,
)
from continuum_sim.policies.parts.levels import level_of
from continuum_sim.policies.rules.autellix_router import AutellixRouting


@register_order("autellix")
@dataclass(frozen=True)
class Autellix(Order):
    """The level of least service first, and within a level the turn that arrived first.

    A turn enters at the level of the service that its program has attained in finished turns (tokens computed, with
    limits at 2048, 8192 and 32768). It is demoted whenever its own computed tokens carry the sum over a limit, so a
    long turn sinks while it runs: it is preempted sooner and then queues further back. Against starvation, a program
    that has waited `beta` times as long as it was served goes to the top until it is served again.
    """

    time_varying: ClassVar[bool] = True

    beta: float = field(
        default=2.0,
        metadata={
            "help": "seconds waited per second of service at which a program is promoted",
            "search": "0.1:100:log",
        },
    )

    def __post_init__(self) -> None:
        if not self.beta > 0:
            raise PolicyError(f"beta is {self.beta}, expected more than 0")

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Return (level, arrival of the turn)."""
        level = 0 if now_s >= self._promotion_s(turn) else level_of(_service(turn))
        return (level, instant(turn.arrival_s))

    def next_change_s(self, turn: TurnView, now_s: float) -> float:
        """Return when the turn will be promoted."""
        promotion_s = self._promotion_s(turn)
        return promotion_s if promotion_s > now_s else math.inf

    def victim(self, running: Sequence[TurnView]) -> int:
        """Return the turn on the level of most service; of several, the one admitted last."""
        return max(range(len(running)), key=lambda at: (level_of(_service(running[at])), at))

    def _promotion_s(self, turn: TurnView) -> float:
        """Return when waited / served reaches `beta` if the turn keeps waiting."""
        program = turn.program
        return turn.since_s + (self.beta * program.service_s - program.waited_s) - SAME_INSTANT_S


def _service(turn: TurnView) -> int:
    """Return the tokens of service that set the level: those of finished turns, and of this one so far."""
    return turn.program.attained_tokens + turn.computed_tokens


register_preset(
    Preset(
        name="autellix",
        rule="Programs by attained service (tokens of finished turns), least first, in four levels (limits 2048, "
        "8192, 32768); a running turn sinks as it computes; waited/served >= beta lifts to the top. No retention: "
        "contexts are kept as stock vLLM keeps them. A waiting turn displaces no running one. In a cluster long turns "
        "stay with their program, short ones go where there is least to do.",
        source="Autellix (arXiv 2502.13965, NSDI 2026), PLAS for programs of one thread, its anti-starvation rule and "
        "its load balancer",
        order=Autellix,
        routing=AutellixRouting,
    )
)
