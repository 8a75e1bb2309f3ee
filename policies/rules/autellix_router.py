"""Autellix's load balancer: short calls go where there is least to do, long ones where their program is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from continuum_sim.policies import PolicyError, ReplicaView, RoutedTurn, Router, Routing, register_routing
from continuum_sim.policies.rules.least_loaded import turns_in


@register_routing("autellix")
@dataclass(frozen=True)
class AutellixRouting(Routing):
    """Turns of at most `short_tokens` prompt tokens go to the least used replica, longer ones to their program's.

    A program gets the replica that is least used at its first long turn and keeps it; its short turns go anywhere,
    since recomputing them costs little. Least used means fewest turns running and waiting; ties go to the replica
    with the fewest open programs.

    Source: Autellix (arXiv 2502.13965, NSDI 2026), load balancer, with its 2048 tokens.
    """

    short_tokens: int = field(default=2048, metadata={"help": "prompt tokens up to which a turn may go anywhere"})

    def __post_init__(self) -> None:
        if self.short_tokens < 0:
            raise PolicyError(f"short_tokens is {self.short_tokens}, expected 0 or more")

    def start(self) -> Router:
        """Make a router with an empty table of programs."""
        return _Table(self.short_tokens)


class _Table(Router):
    def __init__(self, short_tokens: int) -> None:
        self._short_tokens = short_tokens
        self._replica_of: dict[str, int] = {}

    def route(self, turn: RoutedTurn, replicas: Sequence[ReplicaView], now_s: float) -> int:
        """Look up the replica of a long turn's program; assign one if there is none or the turn does not fit there."""
        if turn.prompt_tokens > self._short_tokens:
            own = self._replica_of.get(turn.program_id)
            if any(replica.number == own for replica in replicas):
                assert own is not None
                return own
        chosen = min(replicas, key=lambda r: (turns_in(r), r.open_programs, r.number)).number
        if turn.prompt_tokens > self._short_tokens:
            self._replica_of[turn.program_id] = chosen
        return chosen

    def program_left(self, program_id: str) -> None:
        """Remove the program from the table."""
        self._replica_of.pop(program_id, None)
