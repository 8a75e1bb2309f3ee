"""`saga-placement`: a turn goes to its program's home while there is room, else to the least loaded replica."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from continuum_sim.policies import (
    PolicyError,
    ReplicaView,
    RoutedTurn,
    Router,
    Routing,
    instant,
    register_routing,
    used_share,
)


@register_routing("saga-placement")
@dataclass(frozen=True)
class SagaPlacement(Routing, Router):
    """A turn goes home while the load there is below `max_load`, else to the replica with the least load.

    Load is the used share of KV blocks; the paper's wording leaves this open. Ties go to the replica with the fewest
    open programs. A program that moves has its home on the new replica.

    Source: SAGA (arXiv 2605.00528, HPDC 2026), session affinity; without its work stealing, which moves waiting turns.
    """

    max_load: float = field(default=0.8, metadata={"help": "used share of KV blocks at which programs leave home"})

    def __post_init__(self) -> None:
        if not 0 <= self.max_load <= 1:
            raise PolicyError(f"max_load is {self.max_load}, expected a share from 0 to 1")

    def start(self) -> Router:
        """Return the rule itself, which keeps no state: a turn says where its program's home is."""
        return self

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Choose the home, or the least load."""
        for replica in replicas:
            if replica.number == turn.home and used_share(replica.engine) < self.max_load:
                return replica.number
        return min(replicas, key=lambda r: (instant(used_share(r.engine)), r.open_programs, r.number)).number
