"""`thunderagent`: pauses programs, those in tool calls first, so that the working set fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar

from continuum_sim.policies import (
    Admission,
    CapacityGate,
    Gate,
    PolicyError,
    Preset,
    ProgramView,
    register_admission,
    register_preset,
)
from continuum_sim.policies.parts.capacity import check_capacity, context_tokens


@register_admission("thunderagent")
@dataclass(frozen=True)
class ThunderAgent(Admission):
    """Every `period` seconds, resume programs that fit and pause programs until the rest fits.

    A program whose turn waits or runs counts with its whole context C, one that has been in a tool call for s seconds
    with C · 2^(−s / half_life), each plus `buffer_tokens`. Programs in tool calls are paused first, smallest context
    first; then the others, smallest first, as soon as their turn ends. While they fit, programs with a waiting turn
    resume first, then new ones, then those in tool calls, each group smallest first.
    """

    steady: ClassVar[bool] = True

    period: float = field(
        default=5.0, metadata={"help": "seconds between checks of the capacity", "search": "0.5:60:log"}
    )
    half_life: float = field(
        default=1.0,
        metadata={"help": "seconds of tool call in which a context's weight halves", "search": "0.05:60:log"},
    )
    buffer_tokens: int = field(
        default=100, metadata={"help": "tokens of room kept per active program", "search": "16:4096:log"}
    )

    def __post_init__(self) -> None:
        check_capacity(self.period, self.buffer_tokens)
        if not self.half_life > 0:
            raise PolicyError(f"half_life is {self.half_life}, expected more than 0 seconds")

    def start(self) -> Gate:
        """Make the controller of one engine."""
        return _Controller(self)


class _Controller(CapacityGate):
    def __init__(self, rule: ThunderAgent) -> None:
        super().__init__(rule.period, rule.buffer_tokens)
        self._rule = rule

    def weight(self, program: ProgramView, now_s: float) -> float:
        """Return 1, halved for every `half_life` seconds of a tool call."""
        if program.turn_end_s is None:
            return 1.0
        return float(2.0 ** (-(now_s - program.turn_end_s) / self._rule.half_life))

    def pause_rank(self, program: ProgramView, now_s: float) -> Any:
        """Put programs in tool calls first, then the smallest context."""
        return (program.turn is not None, context_tokens(program), program.seq)


register_preset(
    Preset(
        name="thunderagent",
        rule="Every `period` seconds sums the contexts, those in tools decayed by 2^(−s / half_life); above the KV "
        "capacity pauses programs (in tool calls first, smallest first), below it resumes them (waiting turns, new, "
        "in tool calls; smallest first). Queue and cache are stock vLLM's.",
        source="ThunderAgent (arXiv 2602.13692, ICML 2026); buffer, new programs and marked pauses as in its code "
        "(github.com/ThunderAgent-org/ThunderAgent)",
        admission=ThunderAgent,
    )
)
