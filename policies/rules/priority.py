"""`order=priority`, and vLLM's `--scheduling-policy priority`: turns queue by the priority of their program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from continuum_sim.policies import Order, Policy, PolicyError, TurnView, register_order
from continuum_sim.policies.planes import leaves_order


@register_order("priority")
@dataclass(frozen=True)
class Priority(Order):
    """As vLLM's `PriorityRequestQueue`: lowest priority first, then by arrival, preempted or not."""

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Return (priority, arrival, order of arrival)."""
        return (turn.priority, turn.arrival_s, turn.seq)

    def victim(self, running: Sequence[TurnView]) -> int:
        """Return the running turn that this order puts last."""
        return max(range(len(running)), key=lambda at: self.key(running[at], 0.0))


def by_priority(policy: Policy) -> Policy:
    """Return the policy in the order of `--scheduling-policy priority`.

    Raises
    ------
    PolicyError
        If the policy has an order of its own, or a gate.
    """
    if not leaves_order(policy):
        raise PolicyError(
            f"policy {policy.name!r} has an order of its own, and so has --scheduling-policy priority; leave one out"
        )
    return replace(policy, order=Priority())
