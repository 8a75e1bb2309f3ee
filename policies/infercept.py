"""`infercept`, `infercept-oracle`: keep a paused context while that wastes less memory than computing it again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.planes import Decision, Fate, PinFor, Review
from continuum_sim.policies.pressure import YieldingPins
from continuum_sim.policies.program_fifo import ProgramFifo
from continuum_sim.policies.registry import Preset, register_preset, register_retention
from continuum_sim.policies.views import EngineView, Moment, ProgramView

_NOISE_S = 1e-9
"""Sums of step times differ in their last bits; a context this near to its time is given up."""


@register_retention("infercept")
@dataclass(frozen=True, kw_only=True)
class Infercept(YieldingPins):
    """Keep a context of C tokens while g·C is at most what discarding it would waste, thought over at every step.

    Waste is memory held idle times time, in token-seconds. g is how long the tool has run so far, the paper's
    estimate of how long it still will. What is given up stays reusable until evicted. Swapping to host memory,
    the third choice of the paper, needs a lower memory tier, so it is not among the choices here.
    """

    reviews: ClassVar[bool] = True

    saturation: int = field(
        default=2048, metadata={"help": "tokens a step computes before it takes longer per token (S)"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.saturation < 1:
            raise PolicyError(f"saturation is {self.saturation}, expected at least 1 token")

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Keep without expiry: nothing is wasted yet."""
        return PinFor(math.inf)

    def review(self, pinned: Sequence[ProgramView], moment: Moment) -> Review:
        """Give up contexts whose tools have run for longer than W/C.

        W grows with the running turns until one of them ends, so no context is given up before the W/C of now.
        """
        give_up, again_s = [], math.inf
        for program in pinned:
            assert program.turn_end_s is not None
            worth_s = self.worth_s(program.context_tokens, moment.engine)
            until_s = program.turn_end_s + worth_s - _NOISE_S
            if moment.now_s >= until_s:
                give_up.append(program)
            else:
                again_s = min(again_s, until_s)
        return Review(give_up, again_s)

    def worth_s(self, context_tokens: int, engine: EngineView) -> float:
        """Seconds for which keeping a context wastes no more than discarding it: W_discard / C.

        W_discard = T(S)·n(n+1)/2·h + a·h·n·C_run + a·(C − n·h)·C_run: the context comes back in n chunks of h
        tokens and a last one, each chunk a step of T(S) seconds in which what is back so far sits idle, and each
        token makes a step a seconds longer for the C_run tokens of the turns that run. h = max(S − tokens in
        flight, 1), n = ⌈C/h⌉ − 1; every running turn counts as one token in flight. T and a, the seconds a step
        takes and those it grows by per token, are read off the time to prefill S and S/2 tokens.
        """
        if not context_tokens:
            return 0.0
        saturated_s = engine.rebuild_s(self.saturation)
        half = max(self.saturation // 2, 1)
        per_token_s = (saturated_s - engine.rebuild_s(self.saturation - half)) / half
        running_tokens = (engine.total_blocks - engine.free_blocks - engine.pinned_blocks) * engine.block_size
        chunk = max(self.saturation - engine.num_running, 1)
        chunks = -(-context_tokens // chunk) - 1
        idle = saturated_s * chunks * (chunks + 1) / 2 * chunk
        slowed = per_token_s * context_tokens * running_tokens  # h·n + (C − n·h) = C
        return (idle + slowed) / context_tokens


@register_retention("infercept-oracle")
@dataclass(frozen=True, kw_only=True)
class InferceptOracle(Infercept):
    """As `infercept`, with the true time until the tool returns for g."""

    oracle: ClassVar[bool] = True

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Keep if the whole gap is worth it."""
        return PinFor(math.inf) if self._worth(program, moment) else Fate.RELEASE

    def review(self, pinned: Sequence[ProgramView], moment: Moment) -> Review:
        """Give up contexts whose remaining gap is not worth it any more: fewer turns run than before."""
        return Review([p for p in pinned if not self._worth(p, moment)], math.inf)

    def _worth(self, program: ProgramView, moment: Moment) -> bool:
        if program.foresight is None or program.turn_end_s is None:
            return False
        left_s = program.turn_end_s + program.foresight.gap_s - moment.now_s
        return left_s <= self.worth_s(program.context_tokens, moment.engine) + _NOISE_S


_RULE = (
    "Keeps a paused context of C tokens while g·C is at most the token-seconds that discarding and recomputing it in "
    "chunks would waste, thought over at every step; g is {}. Waiting turns: preempted first, then program arrival. "
    "Swapping needs a lower memory tier and is left out."
)
_SOURCE = "InferCept (arXiv 2402.01869, ICML 2024), min-waste interception without swap"

register_preset(
    Preset(
        name="infercept",
        rule=_RULE.format("the time the tool has run so far"),
        source=_SOURCE,
        order=ProgramFifo,
        retention=Infercept,
    )
)
register_preset(
    Preset(
        name="infercept-oracle",
        rule=_RULE.format("the true time until the tool returns") + " Looks ahead: simulator only.",
        source=_SOURCE + ", with its oracle estimate",
        order=ProgramFifo,
        retention=InferceptOracle,
    )
)
