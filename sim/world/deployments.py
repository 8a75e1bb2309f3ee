"""Deployments of data-parallel ranks: a router in front sees one replica each, a balancer inside picks the rank."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from continuum_sim.policies import ReplicaView, RoutedTurn, Router, Routing
from continuum_sim.policies.rules.session_affinity import SessionAffinity
from continuum_sim.policies.rules.vllm_balancer import VllmBalancer
from continuum_sim.policies.views import EngineCounts, TierView


@dataclass(frozen=True)
class Deployments(Routing):
    """A rule for deployments and one for the ranks of each."""

    among: Routing
    """Chooses a deployment; not asked if there is only one."""
    within: Routing
    """Chooses a rank of it."""
    ranks: int
    """Ranks of each deployment; those of the first have the first numbers."""

    def start(self) -> Router:
        """Make the routers of all deployments as they are met."""
        return _Deployments(self)


DEFAULT_ROUTING: Final = SessionAffinity()
"""Used among replicas unless the user or the policy chooses another: agents come back, and their cache is there."""


def default_routing(deployments: int, ranks: int) -> Routing:
    """Return the rule that is used unless the user or the policy chooses another.

    vLLM's own balancer chooses among the ranks of a deployment, as it does for clients that bind none.
    """
    if ranks == 1:
        return DEFAULT_ROUTING
    within = VllmBalancer()
    return within if deployments == 1 else Deployments(DEFAULT_ROUTING, within, ranks)


class _Deployments(Router):
    def __init__(self, rule: Deployments) -> None:
        self._among = rule.among.start()
        self._within = rule.within
        self._ranks = rule.ranks
        self._routers: dict[int, Router] = {}
        self._views: dict[int, _Deployment] = {}

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Choose the deployment, then the rank."""
        offered: dict[int, list[ReplicaView]] = {}
        for view in replicas:
            offered.setdefault(view.number // self._ranks, []).append(view)
        chosen = next(iter(offered))
        if len(offered) > 1:
            for number, views in offered.items():
                if number not in self._views:
                    self._views[number] = _Deployment(number, views)
            home = None if turn.home is None else turn.home // self._ranks
            deployments = [self._views[number] for number in offered]
            chosen = self._among.route(replace(turn, home=home), deployments, now_s)
        return self._router(chosen).route(turn, offered[chosen], now_s)

    def counts_published(self, counts: Mapping[int, EngineCounts]) -> None:
        """Hand each deployment what its own coordinator published."""
        for deployment in dict.fromkeys(number // self._ranks for number in counts):
            first = deployment * self._ranks
            own = {number: counts[number] for number in range(first, first + self._ranks)}
            self._router(deployment).counts_published(own)

    def turn_ended(self, program_id: str) -> None:
        """Tell every router."""
        self._among.turn_ended(program_id)
        for router in self._routers.values():
            router.turn_ended(program_id)

    def program_left(self, program_id: str) -> None:
        """Tell every router."""
        self._among.program_left(program_id)
        for router in self._routers.values():
            router.program_left(program_id)

    def _router(self, deployment: int) -> Router:
        if deployment not in self._routers:
            self._routers[deployment] = self._within.start()
        return self._routers[deployment]


class _Deployment:
    """The ranks of a deployment as one replica (`ReplicaView`) with one engine (`EngineView`)."""

    def __init__(self, number: int, ranks: Sequence[ReplicaView]) -> None:
        self.number = number
        self._ranks = ranks
        self._engines = [rank.engine for rank in ranks]
        self.block_size = self._engines[0].block_size
        self.total_blocks = sum([engine.total_blocks for engine in self._engines])

    @property
    def engine(self) -> _Deployment:
        return self

    @property
    def open_programs(self) -> int:
        return sum([rank.open_programs for rank in self._ranks])

    @property
    def free_blocks(self) -> int:
        return sum([engine.free_blocks for engine in self._engines])

    @property
    def pinned_blocks(self) -> int:
        return sum([engine.pinned_blocks for engine in self._engines])

    @property
    def num_running(self) -> int:
        return sum([engine.num_running for engine in self._engines])

    @property
    def num_waiting(self) -> int:
        return sum([engine.num_waiting for engine in self._engines])

    @property
    def shortest_waiting_tokens(self) -> int:
        return min([engine.shortest_waiting_tokens for engine in self._engines if engine.num_waiting], default=0)

    @property
    def tier(self) -> TierView | None:
        return self._engines[0].tier

    def rebuild_s(self, context_tokens: int) -> float:
        return self._engines[0].rebuild_s(context_tokens)

    def cached_tokens(self, turn: RoutedTurn) -> int:
        return max([rank.cached_tokens(turn) for rank in self._ranks])
