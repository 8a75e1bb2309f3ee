"""`session-gate`: at most n programs at a time, first come first served."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from continuum_sim.policies import Admission, Gate, PolicyError, Preset, Window, register_admission, register_preset
from continuum_sim.policies.rules.program_fifo import ProgramFifo


@register_admission("session-gate")
@dataclass(frozen=True)
class SessionGate(Admission):
    """Let a fixed number of programs be active; a place is free again when a program ends."""

    steady: ClassVar[bool] = True

    limit: int = field(default=8, metadata={"help": "programs that may be active at once", "search": "1:64:log"})

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise PolicyError(f"limit is {self.limit}, expected at least 1 program")

    def start(self) -> Gate:
        """Make a window of fixed size."""
        return Window(self.limit)


register_preset(
    Preset(
        name="session-gate",
        rule="At most `limit` programs are active, from their first turn to their last, in order of arrival; "
        "their contexts are kept as stock vLLM keeps them.",
        source="admission control by hand, the plain control for every policy that retains contexts",
        order=ProgramFifo,
        admission=SessionGate,
    )
)
