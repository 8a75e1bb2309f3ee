"""`mars`: a window of programs against overload, and turns with little to prefill first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from continuum_sim.policies import (
    Admission,
    Gate,
    Moment,
    Order,
    PolicyError,
    Preset,
    ProgramView,
    TurnView,
    Window,
    instant,
    register_admission,
    register_order,
    register_preset,
    used_share,
)
from continuum_sim.policies.parts.levels import level_of
from continuum_sim.policies.planes import check_period


@register_order("remaining-prefill")
@dataclass(frozen=True)
class RemainingPrefill(Order):
    """Preempted turns first, then by level of the prompt tokens not cached on arrival, then first come."""

    sees_cache: ClassVar[bool] = True

    def key(self, turn: TurnView, now_s: float) -> Any:
        """Return (was not preempted, level with limits 2048, 8192 and 32768 tokens, arrival of the turn)."""
        remaining = turn.prompt_tokens - turn.cached_tokens
        return (not turn.preempted, level_of(remaining), instant(turn.arrival_s))


@register_admission("mars")
@dataclass(frozen=True)
class Mars(Admission):
    """A window of active programs that shrinks while KV memory is overloaded and grows while it is not.

    Overload begins when the used share of KV blocks reaches `overload` and ends when it falls to `clear`.
    """

    steady: ClassVar[bool] = True

    window: int = field(default=30, metadata={"help": "active programs at the start", "search": "1:64:log"})
    increase: float = field(
        default=1.0, metadata={"help": "programs added while there is no overload", "search": "0.5:16:log"}
    )
    decrease: float = field(default=0.7, metadata={"help": "factor during overload", "search": "0.1:0.9"})
    overload: float = field(
        default=0.90, metadata={"help": "used share of KV blocks at which overload begins", "search": "0.7:1"}
    )
    clear: float = field(default=0.85, metadata={"help": "used share at which it ends", "search": "0.5:0.95"})
    period: float = field(default=5.0, metadata={"help": "seconds between updates", "search": "0.5:60:log"})

    def __post_init__(self) -> None:
        if self.window < 1:
            raise PolicyError(f"window is {self.window}, expected at least 1 program")
        check_period(self.period)
        if not (math.isfinite(self.increase) and self.increase >= 0):
            raise PolicyError(f"increase is {self.increase}, expected a finite number of programs, 0 or more")
        for name in ("decrease", "overload", "clear"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise PolicyError(f"{name} is {value}, expected a share from 0 to 1")
        if self.clear > self.overload:
            raise PolicyError(f"clear is {self.clear}, expected at most overload ({self.overload})")

    def start(self) -> Gate:
        """Make the controller of one engine."""
        return _Controller(self)


class _Controller(Window):
    """The window, and whether memory is overloaded."""

    def __init__(self, rule: Mars) -> None:
        super().__init__(rule.window)
        self.period_s = rule.period
        self.overloaded = False
        self._rule = rule

    def tick(self, programs: Sequence[ProgramView], moment: Moment) -> None:
        """Move the window."""
        rule = self._rule
        used = used_share(moment.engine)
        self.overloaded = used >= rule.overload or (self.overloaded and used > rule.clear)
        if self.overloaded:
            self.shrink(rule.decrease)
        else:
            self.grow(rule.increase, len(programs))


register_preset(
    Preset(
        name="mars",
        rule="A window of active programs, moved every `period` seconds: × decrease while the used share of KV blocks "
        "is in overload (from `overload` until `clear`), else + increase; waiting turns by level of the prompt tokens "
        "they have left to prefill (limits 2048, 8192, 32768). Left out: the half that watches a pool of tool workers.",
        source="MARS (arXiv 2604.26963), KV part; the period is ours",
        order=RemainingPrefill,
        admission=Mars,
    )
)
