"""`belady`: evicts the context that will be needed last, which requires knowing the future."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from continuum_sim.policies import (
    Decision,
    Moment,
    PinFor,
    Preset,
    ProgramView,
    SoftPins,
    TurnView,
    instant,
    register_preset,
    register_retention,
)


@register_retention("belady")
@dataclass(frozen=True)
class Belady(SoftPins):
    """Keep every paused context until space is needed, then give up the one whose next use is farthest away.

    The unit is a context, not a block; the front of a context that is given up stays reusable until its space is
    needed.
    """

    oracle: ClassVar[bool] = True

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Keep without expiry."""
        return PinFor(math.inf)

    def pin_to_break(self, pinned: Sequence[ProgramView], head: TurnView, moment: Moment) -> ProgramView | None:
        """Return the program whose next use is farthest away; the latest program on ties."""
        return max(pinned, key=_next_use)


def _next_use(program: ProgramView) -> tuple[float, int]:
    """Return the next turn's arrival: ahead during a tool call, past if it waits already (first come, first used)."""
    if program.turn is not None:
        return instant(program.turn.arrival_s), program.seq
    assert program.turn_end_s is not None
    gap_s = program.foresight.gap_s if program.foresight is not None else math.inf
    return instant(program.turn_end_s + gap_s), program.seq


register_preset(
    Preset(
        name="belady",
        rule="First come first served; when space is needed, evicts the cached context whose next turn arrives "
        "last. Looks ahead: simulator only.",
        source="Belady, A study of replacement algorithms for a virtual-storage computer, IBM Systems Journal 5(2), "
        "1966, over whole contexts",
        retention=Belady,
    )
)
