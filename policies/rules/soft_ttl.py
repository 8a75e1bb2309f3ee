"""`soft-ttl`: a time to live that protects from eviction only while there is something else to evict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from continuum_sim.policies import (
    Decision,
    Moment,
    PinFor,
    PinnedFirst,
    PolicyError,
    Preset,
    ProgramView,
    SoftPins,
    register_preset,
    register_retention,
)
from continuum_sim.policies.rules.ttl import Ttl


@register_retention("soft-ttl")
@dataclass(frozen=True)
class SoftTtl(SoftPins):
    """Keep every paused context last in eviction order for `ttl` seconds."""

    ttl: float | None = field(
        default=2.0,
        metadata={
            "help": "seconds of protection; none: what `ttl` would choose for each tool call",
            "search": "0.1:100:log",
        },
    )

    def __post_init__(self) -> None:
        if self.ttl is not None and not (math.isfinite(self.ttl) and self.ttl >= 0):
            raise PolicyError(f"ttl is {self.ttl}, expected a finite number of seconds, 0 or more, or none")

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Protect for `ttl` seconds."""
        return Ttl().at_turn_end(program, moment) if self.ttl is None else PinFor(self.ttl)


register_preset(
    Preset(
        name="soft-ttl",
        rule="As ttl-static, but unexpired contexts are only the last in eviction order: they yield, least recently "
        "used first, to any turn that needs the blocks, so nothing waits or is preempted for them.",
        source="SGLang pull requests 21045 and 27970 (retention_seconds), vLLM RFC 52113; both leave the queue in "
        "order of arrival (order=arrival,retention=soft-ttl)",
        order=PinnedFirst,
        retention=SoftTtl,
    )
)
