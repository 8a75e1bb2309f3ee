"""Rules that tests build theirs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from continuum_sim.policies.planes import Decision, PinFor, Retention
from continuum_sim.policies.views import Moment, ProgramView


@dataclass(frozen=True)
class Reviewed(Retention):
    """Pins every context without expiry; what becomes of the pins is for `review` to say."""

    steady: ClassVar[bool] = True

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        return PinFor(float("inf"))
