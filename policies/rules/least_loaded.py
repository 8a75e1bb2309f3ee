"""`least-loaded`: every turn goes to the replica with the least work: `vllm-balancer`, if it knew all at once."""

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

    U is the used share of KV blocks: a queue in front of full memory drains slowly. Ties go to the first replica from a
    starting point that moves on by one with every turn. Where contexts are cached plays no part.

    Source: vLLM 0.33, `DPLBAsyncMPClient` (vllm/v1/engine/core_client.py), which looks at loads up to 100 ms old.
    """

    def start(self) -> Router:
        """Make a router that begins with replica 0."""
        return _LeastLoaded()


class _LeastLoaded(Router):
    def __init__(self) -> None:
        self._start = 0

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Choose the lowest load; on ties, the first from the starting point on."""
        start = self._start % len(replicas)
        self._start += 1
        return min((*replicas[start:], *replicas[:start]), key=lambda r: load(r.engine)).number


def load(engine: EngineView) -> float:
    """Return the number of turns running and waiting, where those that wait for full memory count more than once."""
    waiting = engine.num_waiting
    turns = engine.num_running + waiting
    return turns if not waiting else instant(turns + waiting * 6.0 * max(0.0, used_share(engine) - 0.5))


def turns_in(replica: ReplicaView) -> int:
    """Return how many turns a replica has accepted and not finished, as a router in front of it counts them."""
    return replica.engine.num_running + replica.engine.num_waiting


def roomiest(replicas: Sequence[ReplicaView]) -> ReplicaView:
    """Return the replica with the fewest open programs for its memory; the first on ties.

    A program claims memory from its first turn to its last, including tool calls, which queues do not show.
    """
    return min(replicas, key=lambda r: (r.open_programs / r.engine.total_blocks, r.number))
