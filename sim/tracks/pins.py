"""When contexts were pinned, and how each pin ended, as read from the decision log, its only source."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final, Literal, NamedTuple

from continuum_sim.results.decisions import DecisionRecord

PinEnd = Literal["hit", "expired", "broken", "moved", "offloaded", "held"]


class PinSpan(NamedTuple):
    """The KV of a program was pinned after `turn`, from `start_s` to `end_s`."""

    program: str
    turn: int
    start_s: float
    end_s: float
    ttl_s: float
    """TTL asked for; infinite for a pin without an expiry."""
    end: PinEnd
    """`hit`: the next turn was admitted while the pin held; `moved`: in a cluster, that turn went to another replica;
    `offloaded`: the policy sent the context to host memory; `held`: the log ends before the pin does."""


class _Open:
    """A pin that has not ended yet."""

    __slots__ = ("hit_s", "pinned", "ttl_s")

    def __init__(self, pinned: DecisionRecord) -> None:
        self.pinned = pinned
        ttl_s = pinned.detail.get("ttl_s")
        self.ttl_s = math.inf if ttl_s is None else float(ttl_s)
        self.hit_s: float | None = None

    def ended(self, end_s: float, end: PinEnd) -> PinSpan:
        return PinSpan(self.pinned.program, self.pinned.turn, self.pinned.time_s, end_s, self.ttl_s, end)


_TURN_ENDS = ("pin", "release", "evict")
_ENDS: Final[dict[str, PinEnd]] = {
    "expire": "expired",
    "break": "broken",
    "move": "moved",
    "offload": "offloaded",
}


def pin_spans(decisions: Iterable[DecisionRecord], *, outlasts_admission: bool = False) -> Iterator[PinSpan]:
    """Yield every pin of a decision log in the order of their ends; memory holds only the open ones.

    Parameters
    ----------
    outlasts_admission
        Whether the policy's pins stay while the next turn runs (`Retention.outlasts_admission`): such a pin counts
        as hit when that turn is admitted, and lasts until the turn ends or the pin expires or is broken.
    """
    pins: dict[str, _Open] = {}
    now_s = 0.0
    for decision in decisions:
        now_s, event, program = decision.time_s, decision.event, decision.program
        pin = pins.get(program)
        if pin is not None:
            if event == "admit" and decision.turn > pin.pinned.turn:
                pin.hit_s = now_s if pin.hit_s is None else pin.hit_s
                if not outlasts_admission:
                    yield pins.pop(program).ended(now_s, "hit")
            elif event in _ENDS or (event in _TURN_ENDS and decision.turn > pin.pinned.turn):
                yield pins.pop(program).ended(now_s, _ENDS.get(event, "hit") if pin.hit_s is None else "hit")
        if event == "pin":
            pins[program] = _Open(decision)
    for pin in pins.values():
        yield pin.ended(now_s, "held" if pin.hit_s is None else "hit")
