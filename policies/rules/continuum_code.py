"""`continuum-code`: what the authors' published engine does, which is not quite what their paper says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from continuum_sim.policies import (
    Decision,
    Fate,
    Moment,
    PinFor,
    PinnedFirst,
    PolicyError,
    Preset,
    ProgramView,
    Retention,
    TurnView,
    instant,
    register_order,
    register_preset,
    register_retention,
)


@register_order("continuum-code")
@dataclass(frozen=True)
class LatestProgramYields(PinnedFirst):
    """Queue as `pinned-first`; the running turn of the program that arrived last is preempted first."""

    def victim(self, running: Sequence[TurnView]) -> int:
        """Return the turn of the latest program; of several, the one admitted last."""
        return max(range(len(running)), key=lambda at: (running[at].program.seq, at))


@register_retention("continuum-code")
@dataclass(frozen=True)
class FixedPin(Retention):
    """Pin for `ttl` seconds when the tool's mean duration so far is at most `threshold`, else release.

    A tool never seen counts as instant. The pin lasts until the program's next turn has ended, unless it
    expires while no turn of the program waits. It is broken only if it must be: for a waiting turn when nothing
    runs, for a running turn when that runs alone; the pin with the latest expiry goes first. The authors' code
    breaks one pin per step and tries again in the next, which comes at once as nothing runs; here one step does it all.
    """

    steady: ClassVar[bool] = True
    yields_to_growth: ClassVar[bool] = True
    outlasts_admission: ClassVar[bool] = True

    ttl: float = field(default=2.0, metadata={"help": "seconds every pin lasts", "search": "0.1:100:log"})
    threshold: float = field(
        default=2.0, metadata={"help": "mean seconds of a tool above which nothing is pinned", "search": "0.1:100:log"}
    )

    def __post_init__(self) -> None:
        for name in ("ttl", "threshold"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PolicyError(f"{name} is {value}, expected a finite number of seconds, 0 or more")

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Pin if the tool is usually fast."""
        mean_s = moment.history.of_tool(program.last_tool).mean_s()
        return PinFor(self.ttl) if mean_s <= self.threshold else Fate.RELEASE

    def pin_to_break(self, pinned: Sequence[ProgramView], head: TurnView, moment: Moment) -> ProgramView | None:
        """Return the program whose pin expires last, if nothing but the head itself runs."""
        if moment.engine.num_running > head.running:
            return None
        return max(pinned, key=_expiry)


def _expiry(program: ProgramView) -> tuple[float, int]:
    assert program.pin is not None
    return instant(program.pin.expires_s), -program.seq


register_preset(
    Preset(
        name="continuum-code",
        rule="Pins for 2 s when the tool's mean is at most 2 s (a new tool counts as 0), until the next turn ended; "
        "a running turn that cannot grow preempts the latest program before any pin is touched; pins are broken only "
        "when nothing else runs, latest expiry first. Queue as ttl.",
        source="the authors' public preview of Continuum (a fork of vLLM 0.10.2), without its preference for keeping "
        "final turns, which takes knowing that a turn is the last while it runs",
        order=LatestProgramYields,
        retention=FixedPin,
    )
)
