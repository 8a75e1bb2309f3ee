"""`lru`, `fcfs`: vLLM as it is, and an engine that keeps nothing between turns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from continuum_sim.policies import (
    Admission,
    Decision,
    Fate,
    Moment,
    Order,
    Preset,
    ProgramView,
    Retention,
    register_admission,
    register_order,
    register_preset,
    register_retention,
)

register_order("arrival")(Order)
register_retention("release")(Retention)
register_admission("open")(Admission)


@register_retention("evict")
@dataclass(frozen=True)
class Evict(Retention):
    """Forget a finished turn's blocks at once."""

    keeps_nothing: ClassVar[bool] = True

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Evict, whatever program it is."""
        return Fate.EVICT


register_preset(
    Preset(
        name="fcfs",
        rule="Request-level first come first served; a finished turn's blocks are evicted at once, so every "
        "turn computes its whole prompt.",
        source="Continuum (arXiv 2511.02230), section 1: an engine without retention",
        retention=Evict,
    )
)
register_preset(
    Preset(
        name="lru",
        rule="Stock vLLM with prefix caching: request-level first come first served; freed blocks stay "
        "reusable until least-recently-used eviction reaches them.",
        source="vLLM V1 (vllm/v1/core/sched/scheduler.py, vllm/v1/core/block_pool.py)",
    )
)
