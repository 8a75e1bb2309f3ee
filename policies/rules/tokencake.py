"""`tokencake`: contexts of paused programs go to host memory when that lets a waiting turn in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from continuum_sim.policies import (
    SAME_INSTANT_S,
    Decision,
    Moment,
    PinFor,
    PolicyError,
    Preset,
    ProgramView,
    Review,
    SoftPins,
    TierView,
    register_preset,
    register_retention,
)

_EARLY_S = 0.1
_EARLY = 1.25
"""A context is brought back this many seconds, or this many times its transfer time, before its tool is expected to
return, whichever is longer (arXiv 2510.18586)."""


@register_retention("tokencake")
@dataclass(frozen=True)
class Tokencake(SoftPins):
    """Keep the context of a paused program on the GPU as long as nobody needs its room, and offload it when that pays.

    It pays if a waiting turn does not fit but would fit into the freed blocks, host memory has room, and the tool is
    expected to run on for longer than the transfers there and back take, by a margin. The expectation is made at the
    call: the tool's mean duration so far (that of all tools before its first call). Shortly before the tool is expected
    to return, the context is brought back into free blocks. From then on it is not offloaded again, even if a small
    margin would allow it: it would retake the blocks it had freed ahead of the waiting turn.
    """

    offloads: ClassVar[bool] = True
    recalls: ClassVar[bool] = True
    needs_tier: ClassVar[bool] = True

    margin: float = field(
        default=0.1, metadata={"help": "seconds by which a tool must be expected to outlast the transfers"}
    )

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise PolicyError(f"margin is {self.margin}, expected a finite number of seconds, 0 or more")

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Keep without expiry, and predict the tool's return; the next step reviews the context."""
        own = moment.history.of_tool(program.last_tool)
        program.due_s = moment.now_s + (own if len(own) else moment.history.all_tools).mean_s()
        return PinFor(math.inf)

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        """Offload contexts if that lets a waiting turn in, and bring others back in time."""
        tier = moment.engine.tier
        if tier is None:
            return Review()
        offload, offload_s = self._offload(pinned, tier, moment)
        bring, bring_s = _due_back(away, tier, moment)
        return Review(again_s=min(offload_s, bring_s), offload=offload, bring=bring)

    def _offload(
        self, pinned: Sequence[ProgramView], tier: TierView, moment: Moment
    ) -> tuple[list[ProgramView], float]:
        """Return what to offload so that the shortest waiting turn fits, and when this may change.

        The longest expected pause goes first.
        """
        engine = moment.engine
        if not pinned or not engine.num_waiting:
            return [], math.inf
        needed = -(-engine.shortest_waiting_tokens // engine.block_size)
        free, room = engine.free_blocks, tier.free_blocks
        if needed <= free:
            return [], moment.now_s  # it may or may not be admitted in this step, and running turns grow
        pays_s = {p: 2 * tier.transfer_s(p.context_tokens) + self.margin for p in pinned}
        until_s = {p: p.due_s - max(pays_s[p], _early_s(p, tier)) - SAME_INSTANT_S for p in pinned}
        candidates = [p for p in pinned if moment.now_s < until_s[p]]
        candidates.sort(key=lambda p: (-p.due_s, p.seq))
        gone = []
        for program in candidates:
            assert program.pin is not None
            if needed > free and program.pin.blocks <= room:
                gone.append(program)
                free += program.pin.blocks
                room -= program.pin.blocks
        if needed <= free:
            return gone, math.inf
        # Running turns grow, which leaves less room. But when a large context no longer pays, smaller ones may fit.
        return [], min((until_s[p] for p in candidates), default=math.inf)


def _due_back(away: Sequence[ProgramView], tier: TierView, moment: Moment) -> tuple[list[ProgramView], float]:
    """Return the contexts whose tools are expected back shortly, earliest first, and when the next one is due."""
    at_s = {p: p.due_s - _early_s(p, tier) for p in away}
    due = [p for p in away if moment.now_s >= at_s[p] - SAME_INSTANT_S]
    later = (at_s[p] for p in away if p not in due)
    return sorted(due, key=lambda p: (p.due_s, p.seq)), min(later, default=math.inf)


def _early_s(program: ProgramView, tier: TierView) -> float:
    """Return how many seconds before the tool's expected return to begin."""
    return max(_EARLY_S, _EARLY * tier.transfer_s(program.context_tokens))


register_preset(
    Preset(
        name="tokencake",
        rule="Keeps the contexts of paused programs last in eviction order, and offloads them to host memory "
        "(--dram-gb), longest expected pause first, while a waiting turn fits into the freed blocks, host memory has "
        "room, and the tool is expected to outlast the transfers by `margin` s. They are brought back max(0.1 s, 1.25 "
        "transfers) before the tool is expected to return, or when the next turn comes.",
        source="TokenCake (arXiv 2510.18586), its opportunistic offload and early upload; without agent graphs and the "
        "partition of memory by agent type",
        retention=Tokencake,
    )
)
