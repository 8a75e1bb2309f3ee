"""`tokencake`: contexts of paused programs go to host memory where that lets waiting work in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.planes import Decision, PinFor, Review
from continuum_sim.policies.registry import Preset, register_preset, register_retention
from continuum_sim.policies.soft_pins import SoftPins
from continuum_sim.policies.views import Moment, ProgramView


@register_retention("tokencake")
@dataclass(frozen=True)
class Tokencake(SoftPins):
    """Keep the context of a paused program on the GPU as long as nobody needs its room, and offload it when that pays.

    It pays while a turn waits that does not fit and would fit into the freed blocks, host memory has room, and the
    tool is expected to run on for longer than the way to host memory and back takes, by a margin. The expectation is
    the mean of the tool so far (of all tools before its first call) less what has passed.
    """

    reviews: ClassVar[bool] = True
    offloads: ClassVar[bool] = True
    needs_tier: ClassVar[bool] = True

    margin: float = field(
        default=0.1, metadata={"help": "seconds that a tool must be expected to outlast the transfers by"}
    )

    def __post_init__(self) -> None:
        if not (math.isfinite(self.margin) and self.margin >= 0):
            raise PolicyError(f"margin is {self.margin}, expected a finite number of seconds, 0 or more")

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Keep without expiry; the next step thinks about it."""
        return PinFor(math.inf)

    def review(self, pinned: Sequence[ProgramView], moment: Moment) -> Review:
        """Offload contexts, longest expected pause first, until the shortest waiting turn fits."""
        engine, tier = moment.engine, moment.engine.tier
        if tier is None or not engine.num_waiting:
            return Review((), math.inf)
        needed = -(-engine.shortest_waiting_tokens // engine.block_size)
        free, room = engine.free_blocks, tier.free_blocks
        if needed <= free:
            return Review((), moment.now_s)  # it may go in with this step, or not; and running turns grow
        candidates = [p for p in pinned if p.pin is not None and self._pays(p, moment)]
        candidates.sort(key=lambda p: (-self.left_s(p, moment), p.seq))
        gone = []
        for program in candidates:
            assert program.pin is not None
            if needed > free and program.pin.blocks <= room:
                gone.append(program)
                free += program.pin.blocks
                room -= program.pin.blocks
        # Time alone lets expectations shrink and running turns grow: what does not pay or fit now will not later.
        return Review((), math.inf, gone if needed <= free else ())

    def left_s(self, program: ProgramView, moment: Moment) -> float:
        """Seconds that the tool is expected to run on."""
        assert program.turn_end_s is not None
        history = moment.history
        own = history.of_tool(program.last_tool)
        return (own if len(own) else history.all_tools).mean_s() - (moment.now_s - program.turn_end_s)

    def _pays(self, program: ProgramView, moment: Moment) -> bool:
        tier = moment.engine.tier
        return (
            tier is not None
            and self.left_s(program, moment) > 2 * tier.transfer_s(program.context_tokens) + self.margin
        )


register_preset(
    Preset(
        name="tokencake",
        rule="Keeps the contexts of paused programs last in eviction order, and offloads them to host memory "
        "(--dram-gb), longest expected pause first, while a waiting turn fits into the freed blocks, host memory has "
        "room, and the tool is expected to outlast the transfers by `margin` s. They are reloaded when the next turn "
        "comes.",
        source="TokenCake (arXiv 2510.18586), its opportunistic offload; without early upload, agent graphs and the "
        "partition of memory by agent type",
        retention=Tokencake,
    )
)
