"""Makes vLLM preempt the running request that the policy chooses instead of the last one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from continuum_sim.policies.planes import Order
from continuum_sim.policies.views import TurnView

_FORCED = 1 << 62
"""A priority above any that a client sets: vLLM preempts the request with the largest."""


class VictimChoice:
    """Directs one preemption at a time to the request that the policy chooses.

    Under first come first served, vLLM pops the last request of the batch. Under priority scheduling, it takes the
    request with the largest priority, wherever it is in the batch, and returns its tokens to the budget. So for one
    preemption only, the scheduler is switched to priority scheduling and the victim gets the largest priority.
    """

    def __init__(self, scheduler: Any, order: Order, view: Callable[[Any], TurnView]) -> None:
        from vllm.v1.core.sched.request_queue import SchedulingPolicy

        self.differs = type(order).victim is not Order.victim
        """Whether the policy overrides vLLM's choice at all."""
        self._scheduler = scheduler
        self._order = order
        self._view = view
        self._own_policy = scheduler.policy
        self._by_priority = SchedulingPolicy.PRIORITY
        self._forced: tuple[Any, int] | None = None

    def force(self) -> None:
        """Direct the next preemption to the policy's victim."""
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
