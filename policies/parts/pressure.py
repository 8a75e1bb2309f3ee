"""When pins yield to a waiting turn that does not fit, and which pin goes first.

Continuum (arXiv 2511.02230) breaks pins one by one, latest program arrival first, until the head of the queue
fits. Its text, its section title and its public code differ on *when* that may happen, and the choice decides
more than the TTL does, so it is a parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.planes import Retention
from continuum_sim.policies.views import Moment, ProgramView, TurnView

Pressure = Literal["head", "deadlock", "younger"]

_HELP = (
    "when pins yield to a head that does not fit: head = always (the paper's sentence), deadlock = only when "
    "nothing runs (its section title and code), younger = only pins of programs that arrived after the head's, "
    "or any when nothing runs"
)


@dataclass(frozen=True, kw_only=True)
class YieldingPins(Retention):
    """Retention whose pins are broken, latest program arrival first, under the chosen pressure rule."""

    steady: ClassVar[bool] = True

    pressure: Pressure = field(default="deadlock", metadata={"help": _HELP})

    def __post_init__(self) -> None:
        if self.pressure not in get_args(Pressure):
            rules = ", ".join(get_args(Pressure))
            raise PolicyError(f"pressure is {self.pressure!r}, expected one of {rules}")

    def pin_to_break(self, pinned: Sequence[ProgramView], head: TurnView, moment: Moment) -> ProgramView | None:
        """Return the program that arrived last, if the pressure rule lets its pin be broken now."""
        latest = pinned[-1]
        if self.pressure == "head" or moment.engine.num_running == 0:
            return latest
        if self.pressure == "younger" and latest.seq > head.program.seq:
            return latest
        return None
