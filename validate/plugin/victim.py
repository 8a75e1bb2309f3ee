"""Make vLLM preempt the running request that the policy chooses, instead of the last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from continuum_sim.policies.planes import Order
from continuum_sim.policies.views import TurnView

_FORCED = 1 << 62
"""A priority above any that a client sends: vLLM preempts the largest."""


class VictimChoice:
    """Directs one preemption at a time to the request that the policy names.

    Under first come, first served, vLLM pops the last request of the batch. Its loop for priority scheduling takes
    the largest priority in any position and returns that request's tokens to the budget; so for just one
    preemption the scheduler gets that scheduling policy and the victim that priority.
    """

    def __init__(self, scheduler: Any, order: Order, view: Callable[[Any], TurnView]) -> None:
        from vllm.v1.core.sched.request_queue import SchedulingPolicy

        self.differs = type(order).victim is not Order.victim
        """True if the policy chooses victims itself."""
        self._scheduler = scheduler
        self._order = order
        self._view = view
        self._own_policy = scheduler.policy
        self._by_priority = SchedulingPolicy.PRIORITY
        self._forced: tuple[Any, int] | None = None

    def force(self) -> None:
        """Make the next preemption hit the policy's victim."""
        self.release()
        running = self._scheduler.running
        victim = running[self._order.victim([self._view(request) for request in running])]
        self._forced = (victim, victim.priority)
        victim.priority = _FORCED
        self._scheduler.policy = self._by_priority

    def release(self) -> None:
        """Restore what `force` changed, once vLLM has preempted or found that it cannot."""
        if self._forced is not None:
            victim, priority = self._forced
            victim.priority = priority
            self._forced = None
            self._scheduler.policy = self._own_policy
