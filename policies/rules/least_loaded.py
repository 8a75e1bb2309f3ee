"""`least-loaded`: every turn to the replica with the least work, as vLLM's own data-parallel front end does it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from continuum_sim.policies import (
    EngineView,
    ReplicaView,
    RoutedTurn,
    Router,
    Routing,
    instant,
    register_routing,
    used_share,
)


@register_routing("least-loaded")
@dataclass(frozen=True)
class LeastLoaded(Routing):
    """Turns go to the replica with the lowest load: turns running and waiting, + waiting · 6 · max(0, U − 0.5).

    U is the used share of KV blocks: a queue in front of full memory drains slowly. Of replicas with equal loads the
    first one from a starting point that moves on by one with every turn. Whose context lies where plays no part.

    Source: vLLM 0.33, `DPLBAsyncMPClient` (vllm/v1/engine/core_client.py), which looks at loads up to 100 ms old.
    """

    def start(self) -> Router:
        """Make a router that begins with replica 0."""
        return _LeastLoaded()


class _LeastLoaded(Router):
    def __init__(self) -> None:
        self._start = 0

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Go to the lowest load; on ties the first from the starting point on."""
        start = self._start % len(replicas)
        self._start += 1
        return min((*replicas[start:], *replicas[:start]), key=lambda r: load(r.engine)).number


def load(engine: EngineView) -> float:
    """Turns running and waiting, those that wait for full memory counted more than once."""
    waiting = engine.num_waiting
    turns = engine.num_running + waiting
    return turns if not waiting else instant(turns + waiting * 6.0 * max(0.0, used_share(engine) - 0.5))


def turns_in(replica: ReplicaView) -> int:
    """Turns that a replica has taken in and not finished, as a router in front of it counts them."""
    return replica.engine.num_running + replica.engine.num_waiting


def roomiest(replicas: Sequence[ReplicaView]) -> ReplicaView:
    """Replica with the fewest open programs for its memory; of several the first.

    A program lays claim to memory from its first turn to its last, tool calls included, which queues do not show.
    """
    return min(replicas, key=lambda r: (r.open_programs / r.engine.total_blocks, r.number))
