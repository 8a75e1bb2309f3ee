"""`vllm-balancer`: what a stock `vllm serve --data-parallel-size` does with a turn that no client binds to a rank."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from continuum_sim.policies import (
    EngineCounts,
    PolicyError,
    ReplicaView,
    RoutedTurn,
    Router,
    Routing,
    register_routing,
)

_NONE: Final = EngineCounts(0, 0, 0.0)


@register_routing("vllm-balancer")
@dataclass(frozen=True)
class VllmBalancer(Routing):
    """A turn goes to the rank with the least load, as far as the API server that received it knows.

    Load is the greater of turns running and waiting, and of the API server's own turns in flight × API servers;
    + waiting · 6 · max(0, U − 0.5), with U the used share of KV blocks. Running, waiting and U are what the coordinator
    last published; each choice counts as that many waiting turns until then. Ties go to the first rank from a starting
    point that moves on with every turn.

    API servers take turns in rotation: they accept connections from one socket, whichever is free first.

    Source: vLLM 0.32 and 0.33, `DPLBAsyncMPClient.get_core_engine_for_request` (vllm/v1/engine/core_client.py).
    """

    api_servers: int | None = field(
        default=None, metadata={"help": "API servers in front of the ranks; none: as many as ranks, vLLM's default"}
    )

    def __post_init__(self) -> None:
        if self.api_servers is not None and self.api_servers < 1:
            raise PolicyError(f"api_servers is {self.api_servers}, expected at least 1, or none")

    def start(self) -> Router:
        """Make a router that knows of no turn yet."""
        return _Balancer(self.api_servers)


class _Server:
    """What one API server (vLLM's engine client) knows."""

    def __init__(self, start: int, published: Mapping[int, EngineCounts]) -> None:
        self.start = start
        """Position of the rank that comes first on ties."""
        self.in_flight: Counter[int] = Counter()
        self.counts = {number: list(counts) for number, counts in published.items()}
        """Per replica: waiting, running and used share, as published, and with its own choices since."""


class _Balancer(Router):
    def __init__(self, servers: int | None) -> None:
        self._asked = servers
        self._servers: deque[_Server] = deque()
        self._published: dict[int, EngineCounts] = {}
        self._sent: dict[str, tuple[_Server, int]] = {}

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Choose the least load that the next API server in rotation knows of."""
        ranks = len(replicas)
        if not self._servers:
            number = self._asked or ranks
            self._servers.extend(_Server(ranks * at // number, self._published) for at in range(number))
        server, servers = self._servers[0], len(self._servers)
        self._servers.rotate(-1)
        least, chosen = math.inf, replicas[0].number
        for at in range(server.start, server.start + ranks):
            number = replicas[at % ranks].number
            waiting, running, usage = server.counts.get(number, _NONE)
            score = max(servers * server.in_flight[number], waiting + running)
            if waiting:
                score += waiting * 6.0 * max(0.0, usage - 0.5)
            if score < least:
                least, chosen = score, number
        server.counts.setdefault(chosen, list(_NONE))[0] += servers
        server.start = (server.start + 1) % ranks
        server.in_flight[chosen] += 1
        self._sent[turn.program_id] = server, chosen
        return chosen

    def counts_published(self, counts: Mapping[int, EngineCounts]) -> None:
        """Tell every API server."""
        self._published.update(counts)
        for server in self._servers:
            server.counts.update({number: list(published) for number, published in counts.items()})

    def turn_ended(self, program_id: str) -> None:
        """Count the turn as in flight no longer."""
        sent = self._sent.pop(program_id, None)
        if sent is not None:
            server, number = sent
            server.in_flight[number] -= 1
