"""`session-affinity`: a program stays on its replica while there is room."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from continuum_sim.policies import PolicyError, ReplicaView, RoutedTurn, Router, Routing, register_routing
from continuum_sim.policies.rules.least_loaded import roomiest


@register_routing("session-affinity")
@dataclass(frozen=True)
class SessionAffinity(Routing, Router):
    """A program starts on the replica with the fewest programs for its memory, and its later turns go there too.

    It moves if its home cannot hold the turn at all, or if more than `queue` turns wait at home while another replica
    has none waiting and enough free blocks for the whole prompt.

    Source: the session routers of the vLLM production stack and of the SGLang router (`manual`), which place by hash
    or at random; Continuum (arXiv 2511.02230) keeps a program on one replica. The capacity fallback and the default
    of 4 are ours (measured: docs/clusters.md).
    """

    queue: int | None = field(
        default=4, metadata={"help": "turns that may wait at home before a program moves; none: it never does"}
    )

    def __post_init__(self) -> None:
        if self.queue is not None and self.queue < 0:
            raise PolicyError(f"queue is {self.queue}, expected a number of turns, 0 or more, or none")

    def start(self) -> Router:
        """Return the rule itself, which keeps no state: a turn says where its program's home is."""
        return self

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Stay at home unless the program has to move."""
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
