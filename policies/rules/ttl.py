"""`ttl`: Continuum's cost model for how long to pin a context during a tool call (arXiv 2511.02230)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from continuum_sim.policies import (
    SAME_INSTANT_S,
    Decision,
    Durations,
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


@register_retention("ttl")
@dataclass(frozen=True)
class Ttl(YieldingPins):
    """Pin for the τ that maximises expected saving minus pinned time (Eq. 2 of arXiv 2511.02230).

    τ* = argmax over τ in {0} ∪ {recorded durations of the tool} of P(τ)·(T̄·η + R(C)) − τ, where P(τ) is the
    share of recorded durations not above τ, T̄ the mean wait of recent turns that came back unpinned, η how
    well turns done predict turns left, and R(C) the seconds to rebuild the whole context. Ties go to the
    smallest τ. With at most `cold_start` records in all, τ = ln(T̄ + R(C)) if that is positive, else 0; with at
    most that many of this tool, the durations of all tools stand in for its own.
    """

    cold_start: int = field(
        default=100, metadata={"help": "records below which experience is not trusted (K)", "search": "1:1000:log"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cold_start < 0:
            raise PolicyError(f"cold_start is {self.cold_start}, expected 0 or more records")

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Pin for τ* seconds, possibly 0."""
        history = moment.history
        rebuild_s = moment.engine.rebuild_s(program.context_tokens)
        if len(history.all_tools) <= self.cold_start:
            benefit_s = history.mean_wait_s() + rebuild_s
            return PinFor(math.log(benefit_s) if benefit_s > 1 else 0.0)
        benefit_s = history.mean_wait_s() * history.turn_counts.eta() + rebuild_s
        own = history.of_tool(program.last_tool)
        return PinFor(self.best_s(own if len(own) > self.cold_start else history.all_tools, benefit_s))

    def best_s(self, durations: Durations, benefit_s: float) -> float:
        """Return τ* of Eq. 2 for these durations."""
        return best_ttl_s(durations, benefit_s)


def best_ttl_s(durations: Durations, benefit_s: float) -> float:
    """Return the τ in {0} ∪ durations with the largest P(τ)·benefit − τ; the smallest one on ties (Eq. 2)."""
    if not len(durations):
        return 0.0
    values_s = durations.values_s
    return smallest_best_s(values_s, durations.cumulative * (benefit_s / len(durations)) - values_s)


def smallest_best_s(values_s: npt.NDArray[np.float64], gain_s: npt.NDArray[np.float64]) -> float:
    """Return the value with the largest of at least one gain, the smallest on ties; 0 if no gain is positive."""
    best = int(gain_s.argmax())
    most_s = gain_s.item(best)
    first = int((gain_s[: best + 1] >= most_s - SAME_INSTANT_S).argmax())
    return values_s.item(first) if most_s > SAME_INSTANT_S else 0.0


register_preset(
    Preset(
        name="ttl",
        rule="Continuum: pins a paused context for the τ that maximises P(tool back by τ)·(T̄·η + R(C)) − τ, "
        "learnt per tool; waiting turns: preempted first, then pinned, then program arrival.",
        source="Continuum (arXiv 2511.02230 v2 to v7), Eq. 2 and the cold-start rule",
        order=PinnedFirst,
        retention=Ttl,
    )
)
