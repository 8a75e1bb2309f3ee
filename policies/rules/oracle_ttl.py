"""`oracle-ttl`: what pinning could gain if tool times were known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from continuum_sim.policies import (
    Decision,
    Fate,
    Moment,
    PinFor,
    PinnedFirst,
    Preset,
    ProgramView,
    YieldingPins,
    register_preset,
    register_retention,
)


@register_retention("oracle-ttl")
@dataclass(frozen=True)
class OracleTtl(YieldingPins):
    """Pin for exactly the true gap when that costs less than coming back unpinned."""

    oracle: ClassVar[bool] = True

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Pin for the gap if gap < T̄·η + R(C), the same benefit as in `ttl`; else release."""
        if program.foresight is None:
            return Fate.RELEASE
        history = moment.history
        benefit_s = history.mean_wait_s() * history.turn_counts.eta()
        benefit_s += moment.engine.rebuild_s(program.context_tokens)
        gap_s = program.foresight.gap_s
        return PinFor(gap_s) if gap_s < benefit_s else Fate.RELEASE


register_preset(
    Preset(
        name="oracle-ttl",
        rule="As ttl, but pins exactly the true tool time whenever that is less than T̄·η + R(C). Looks ahead: "
        "simulator only.",
        source="upper bound for ttl's prediction (ours)",
        order=PinnedFirst,
        retention=OracleTtl,
    )
)
