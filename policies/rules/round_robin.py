"""`round-robin`: every turn goes to the next replica."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from continuum_sim.policies import ReplicaView, RoutedTurn, Router, Routing, register_routing


@register_routing("round-robin")
@dataclass(frozen=True)
class RoundRobin(Routing):
    """Turns go to each replica in rotation, whatever program they belong to; one that a turn does not fit is skipped.

    Source: `roundrobin` of the vLLM production stack, `round_robin` of the SGLang and vLLM routers.
    """

    def start(self) -> Router:
        """Make a router that begins with replica 0."""
        return _Turntable()


class _Turntable(Router):
    def __init__(self) -> None:
        self._next = 0

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Choose the first replica from the next in rotation on."""
        chosen = next((r.number for r in replicas if r.number >= self._next), replicas[0].number)
        self._next = chosen + 1
        return chosen
