"""`infercept`, `infercept-oracle`: keep a paused context while that wastes less memory than computing it again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from continuum_sim.policies import (
    SAME_INSTANT_S,
    Decision,
    EngineView,
    Fate,
    Moment,
    PinFor,
    PolicyError,
    Preset,
    ProgramView,
    Review,
    YieldingPins,
    instant,
    register_preset,
    register_retention,
)
from continuum_sim.policies.rules.program_fifo import ProgramFifo

_SOON_S = 1e-6
"""When no context has wasted anything yet, the rule looks again after this many seconds."""


@register_retention("infercept")
@dataclass(frozen=True, kw_only=True)
class Infercept(YieldingPins):
    """Keep a context of C tokens while g·C is at most what discarding it would waste, reconsidered at every step.

    Waste is idle memory times time, in token-seconds. g is how long the tool has run so far, which is the paper's
    estimate of how long it will still run. A context that is given up stays reusable until evicted.

    With host memory, the context with the largest min(g·C, waste of discarding it), which wastes most whether kept or
    discarded, is swapped out whenever the link is idle: swapping wastes nothing as long as the link can keep up. The
    paper fills the link's budget step by step with parts of contexts; here a whole context goes as soon as the one
    before it is done, which is the same rate.
    """

    offloads: ClassVar[bool] = True

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

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        """Swap out what wastes most, and give up contexts whose tools have run for longer than W/C.

        W grows with the running turns until one of them ends, so no context is given up before its present W/C.
        """
        swapped, swap_s = self._swap(pinned, moment)
        give_up, again_s = [], swap_s
        for program in pinned:
            if program is swapped:
                continue
            assert program.turn_end_s is not None
            worth_s = self.worth_s(program.context_tokens, moment.engine)
            until_s = program.turn_end_s + worth_s - SAME_INSTANT_S
            if moment.now_s >= until_s:
                give_up.append(program)
            else:
                again_s = min(again_s, until_s)
        return Review(give_up, again_s, [swapped] if swapped else [])

    def expected_s(self, program: ProgramView, moment: Moment) -> float:
        """Return g, how long the tool is expected to run on: as long as it has run so far."""
        assert program.turn_end_s is not None
        return moment.now_s - program.turn_end_s

    def _swap(self, pinned: Sequence[ProgramView], moment: Moment) -> tuple[ProgramView | None, float]:
        """Return the context to swap out now, if any, and when to choose again if nothing happens before."""
        tier = moment.engine.tier
        if tier is None:
            return None, math.inf
        fitting = [p for p in pinned if p.pin is not None and p.pin.blocks <= tier.free_blocks]
        if not fitting:
            return None, math.inf
        if moment.now_s < tier.link_free_s - SAME_INSTANT_S:
            return None, tier.link_free_s - SAME_INSTANT_S
        wasted = {p: self._wasted(p, moment) for p in fitting}
        most = max(fitting, key=lambda p: (wasted[p], -p.seq))
        if not wasted[most]:
            return None, moment.now_s + _SOON_S
        return most, moment.now_s  # asked again at the next step, when the link says how long this one takes

    def _wasted(self, program: ProgramView, moment: Moment) -> float:
        """Return the token-seconds that the better of keeping and discarding a context wastes."""
        keep_s, discard_s = self.expected_s(program, moment), self.worth_s(program.context_tokens, moment.engine)
        return instant(min(keep_s, discard_s) * program.context_tokens)

    def worth_s(self, context_tokens: int, engine: EngineView) -> float:
        """Return for how many seconds keeping a context wastes no more than discarding it: W_discard / C.

        W_discard = T(S)·n(n+1)/2·h + a·h·n·C_run + a·(C − n·h)·C_run. The context is recomputed in n chunks of h
        tokens and a last one. Each chunk is a step of T(S) seconds in which what is back so far sits idle, and each
        token makes a step `a` seconds longer, which the C_run tokens of the running turns spend waiting.
        h = max(S − tokens in flight, 1), n = ⌈C/h⌉ − 1; every running turn counts as one token in flight. T(S), the
        seconds of a step, and a, its growth per token, are derived from the times to prefill S and S/2 tokens.
        """
        if not context_tokens:
            return 0.0
        saturated_s = engine.rebuild_s(self.saturation)
        half = max(self.saturation // 2, 1)
        # A quadratic fitted to times that hardly grow may decrease here, but a token never makes a step shorter.
        per_token_s = max(0.0, (saturated_s - engine.rebuild_s(self.saturation - half)) / half)
        running_tokens = (engine.total_blocks - engine.free_blocks - engine.pinned_blocks) * engine.block_size
        chunk = max(self.saturation - engine.num_running, 1)
        chunks = -(-context_tokens // chunk) - 1
        idle = saturated_s * chunks * (chunks + 1) / 2 * chunk
        slowed = per_token_s * context_tokens * running_tokens  # h·n + (C − n·h) = C
        return (idle + slowed) / context_tokens


@register_retention("infercept-oracle")
@dataclass(frozen=True, kw_only=True)
class InferceptOracle(Infercept):
    """As `infercept`, but g is the true time until the tool returns."""

    oracle: ClassVar[bool] = True

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Keep if the whole gap is worth it, or if the context may be swapped out at the next step."""
        keep = moment.engine.tier is not None or self._worth(program, moment)
        return PinFor(math.inf) if keep else Fate.RELEASE

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        """Swap out what wastes most, and give up contexts not worth keeping for the rest of their gap."""
        swapped, again_s = self._swap(pinned, moment)
        give_up = [p for p in pinned if p is not swapped and not self._worth(p, moment)]
        return Review(give_up, again_s, [swapped] if swapped else [])

    def expected_s(self, program: ProgramView, moment: Moment) -> float:
        """Return g, how long the tool will still run."""
        if program.foresight is None or program.turn_end_s is None:
            return math.inf
        return program.turn_end_s + program.foresight.gap_s - moment.now_s

    def _worth(self, program: ProgramView, moment: Moment) -> bool:
        left_s = self.expected_s(program, moment)
        return left_s <= self.worth_s(program.context_tokens, moment.engine) + SAME_INSTANT_S


_RULE = (
    "Keeps a paused context of C tokens while g·C is at most the token-seconds that discarding and recomputing it in "
    "chunks would waste, reconsidered at every step; g is {}. Waiting turns: preempted first, then program arrival. "
    "With host memory (--dram-gb), what wastes most is swapped out whenever the link to it is idle."
)
_SOURCE = "InferCept (arXiv 2402.01869, ICML 2024), min-waste interception"

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
