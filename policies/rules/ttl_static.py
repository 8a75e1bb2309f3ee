"""`ttl-static`, `pin-forever`: pins of a fixed length, and pins without expiry."""

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
    YieldingPins,
    register_preset,
    register_retention,
)


@register_retention("ttl-static")
@dataclass(frozen=True)
class TtlStatic(YieldingPins):
    """Pin every paused context for the same number of seconds."""

    ttl: float = field(
        default=2.0, metadata={"help": "seconds every pin lasts; 0 pins nothing", "search": "0.1:100:log"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (math.isfinite(self.ttl) and self.ttl >= 0):
            raise PolicyError(f"ttl is {self.ttl}, expected a finite number of seconds, 0 or more")

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Pin for `ttl` seconds."""
        return PinFor(self.ttl)


@register_retention("pin-forever")
@dataclass(frozen=True)
class PinForever(YieldingPins):
    """Pin every paused context until its next turn is admitted or pressure breaks the pin."""

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Pin without expiry."""
        return PinFor(math.inf)


register_preset(
    Preset(
        name="ttl-static",
        rule="Pins every paused context for the same ttl seconds; waiting turns: preempted first, then pinned, "
        "then program arrival. ttl=0 is program-fifo.",
        source="Continuum (arXiv 2511.02230), the static-TTL baseline; 2 s is the constant of its public code",
        order=PinnedFirst,
        retention=TtlStatic,
    )
)
register_preset(
    Preset(
        name="pin-forever",
        rule="As ttl-static without expiry: a pin ends when its turn is admitted or pressure breaks it.",
        source="limit of ttl-static for a long ttl; the control that shows what expiry is worth",
        order=PinnedFirst,
        retention=PinForever,
    )
)
