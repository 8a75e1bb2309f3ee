"""`concur`: congestion control on the number of active programs, driven by cache pressure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from continuum_sim.policies import (
    Admission,
    Gate,
    Moment,
    PolicyError,
    Preset,
    ProgramView,
    TurnView,
    Window,
    register_admission,
    register_preset,
    used_share,
)
from continuum_sim.policies.planes import check_period


@register_admission("concur")
@dataclass(frozen=True)
class Concur(Admission):
    """A window of active programs: additive increase, multiplicative decrease.

    With U the used share of KV blocks and H the share of prompt tokens found cached, over the turns admitted
    since the last update: + `increase` while U < `low`; × `decrease` when U > `high` and H < `hit_rate`. Programs
    enter and leave the window between turns only.
    """

    steady: ClassVar[bool] = True

    window: int = field(default=8, metadata={"help": "active programs at the start", "search": "1:64:log"})
    increase: float = field(
        default=2.0, metadata={"help": "programs added while memory is idle", "search": "0.5:16:log"}
    )
    decrease: float = field(default=0.5, metadata={"help": "factor under congestion", "search": "0.1:0.9"})
    low: float = field(
        default=0.2, metadata={"help": "used share of KV blocks under which the window grows", "search": "0.05:0.5"}
    )
    high: float = field(
        default=0.5,
        metadata={"help": "used share above which poor hit rates count as congestion", "search": "0.3:0.95"},
    )
    hit_rate: float = field(
        default=0.2, metadata={"help": "share of prompt tokens below which hits are poor", "search": "0.05:0.9"}
    )
    period: float = field(default=5.0, metadata={"help": "seconds between updates", "search": "0.5:60:log"})

    def __post_init__(self) -> None:
        if self.window < 1:
            raise PolicyError(f"window is {self.window}, expected at least 1 program")
        check_period(self.period)
        if not (math.isfinite(self.increase) and self.increase >= 0):
            raise PolicyError(f"increase is {self.increase}, expected a finite number of programs, 0 or more")
        for name in ("decrease", "low", "high", "hit_rate"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise PolicyError(f"{name} is {value}, expected a share from 0 to 1")

    def start(self) -> Gate:
        """Make the controller of one engine."""
        return _Controller(self)


class _Controller(Window):
    """The window, and the prompt tokens and hits since it last moved."""

    def __init__(self, rule: Concur) -> None:
        super().__init__(rule.window)
        self.period_s = rule.period
        self._rule = rule
        self._prompt_tokens = 0
        self._cached_tokens = 0

    def turn_admitted(self, turn: TurnView, cached_tokens: int, moment: Moment) -> None:
        """Give the program a place, and count prompt tokens and hits."""
        super().turn_admitted(turn, cached_tokens, moment)
        self._prompt_tokens += turn.prompt_tokens
        self._cached_tokens += cached_tokens

    def tick(self, programs: Sequence[ProgramView], moment: Moment) -> None:
        """Move the window."""
        rule = self._rule
        used = used_share(moment.engine)
        missing = self._prompt_tokens > 0 and self._cached_tokens < rule.hit_rate * self._prompt_tokens
        if used < rule.low:
            self.grow(rule.increase, len(programs))
        elif used > rule.high and missing:
            self.shrink(rule.decrease)
        self._prompt_tokens = self._cached_tokens = 0


register_preset(
    Preset(
        name="concur",
        rule="A window of active programs, moved every `period` seconds: + increase while less than `low` of the KV "
        "blocks are used, × decrease when more than `high` are used and less than `hit_rate` of the prompt tokens "
        "hit; programs pause and resume between turns.",
        source="CONCUR (arXiv 2601.22705); the first window and the period are ours",
        admission=Concur,
    )
)
