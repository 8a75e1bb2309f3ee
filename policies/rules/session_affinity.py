"""`session-affinity`: a program stays on its replica while there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from continuum_sim.policies import PolicyError, ReplicaView, RoutedTurn, Router, Routing, register_routing
from continuum_sim.policies.rules.least_loaded import roomiest


@register_routing("session-affinity")
@dataclass(frozen=True)
class SessionAffinity(Routing, Router):
    """A program starts where there are fewest programs for the memory, and its turns follow it there.

    It moves when its home cannot hold the turn at all, and when more than `queue` turns wait at home while elsewhere
    nobody waits and free blocks suffice for the whole prompt.

    Source: the session routers of the vLLM production stack and of the SGLang router (`manual`), which place by hash
    or at random; Continuum (arXiv 2511.02230) keeps a program on one replica. The capacity fallback is ours, and so
    is the 4 (measured: docs/clusters.md).
    """

    queue: int | None = field(
        default=4, metadata={"help": "turns that may wait at home before a program moves; none: it never does"}
    )

    def __post_init__(self) -> None:
        if self.queue is not None and self.queue < 0:
            raise PolicyError(f"queue is {self.queue}, expected a number of turns, 0 or more, or none")

    def start(self) -> Router:
        """It remembers nothing: where a program is, it is told."""
        return self

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Stay at home unless that is out of the question."""
        home = next((r for r in replicas if r.number == turn.home), None)
        if home is None:
            return roomiest(replicas).number
        if self.queue is None or home.engine.num_waiting <= self.queue:
            return home.number
        open_to_it = [r for r in replicas if r is not home and _takes_at_once(r, turn)]
        return roomiest(open_to_it).number if open_to_it else home.number


def _takes_at_once(replica: ReplicaView, turn: RoutedTurn) -> bool:
    engine = replica.engine
    return engine.num_waiting == 0 and engine.free_blocks * engine.block_size >= turn.prompt_tokens
