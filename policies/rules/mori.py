"""`mori`: programs ranked by how idle they are; the busiest keep their contexts in GPU memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from continuum_sim.policies import (
    Admission,
    CapacityGate,
    Decision,
    Fate,
    Gate,
    Moment,
    PinFor,
    Preset,
    ProgramView,
    Review,
    SoftPins,
    TurnView,
    instant,
    register_admission,
    register_preset,
    register_retention,
)
from continuum_sim.policies.parts.capacity import check_capacity


def idleness(program: ProgramView, now_s: float) -> float:
    """Return ι = acting / (acting + reasoning) seconds over the latest 5 turns and the current tool call; 0 at first.

    Reasoning is time in the batch; time in a queue counts for neither (arXiv 2606.00866, section 4.2).
    """
    reasoning_s = sum(cycle[0] for cycle in program.cycles)
    acting_s = sum(cycle[1] for cycle in program.cycles)
    if program.turn_end_s is not None:
        reasoning_s += program.last_service_s
        acting_s += now_s - program.turn_end_s
        if len(program.cycles) == program.cycles.maxlen:
            reasoning_s -= program.cycles[0][0]
            acting_s -= program.cycles[0][1]
    return instant(acting_s / (acting_s + reasoning_s)) if acting_s + reasoning_s > 0 else 0.0


@register_admission("mori")
@dataclass(frozen=True)
class Mori(Admission):
    """Every `period` seconds, demote the most idle programs until the contexts of the others fit.

    Among equally idle programs, those in a tool call go first; one whose turn waits or runs goes when that turn has
    ended. Demoted programs come back when there is room: those with a waiting turn first, then new ones, then those
    in tool calls, each group smallest context first. None is moved while all fit.
    """

    steady: ClassVar[bool] = True

    period: float = field(default=5.0, metadata={"help": "seconds between rebalancings", "search": "0.5:60:log"})
    buffer_tokens: int = field(
        default=100, metadata={"help": "tokens of room kept per active program", "search": "16:4096:log"}
    )

    def __post_init__(self) -> None:
        check_capacity(self.period, self.buffer_tokens)

    def start(self) -> Gate:
        """Make the controller of one engine."""
        return _Controller(self.period, self.buffer_tokens)


class _Controller(CapacityGate):
    def pause_rank(self, program: ProgramView, now_s: float) -> Any:
        """Put the most idle first, then those in tool calls, then the latest."""
        return (-idleness(program, now_s), program.turn is not None, -program.seq)


@register_retention("busiest")
@dataclass(frozen=True)
class Busiest(SoftPins):
    """Keep the contexts of programs that no gate has paused: last in eviction order, the busiest at the very end.

    Contexts of programs that a gate has paused go to host memory while there is room, the busiest first, and come back
    when the gate resumes their programs: at once if a tool runs, else when the waiting turn is let in.
    """

    recalls: ClassVar[bool] = True

    def at_turn_end(self, program: ProgramView, moment: Moment) -> Decision:
        """Keep without expiry, unless the end of this turn pauses the program."""
        if not program.paused:
            return PinFor(math.inf)
        blocks = program.context_tokens // moment.engine.block_size
        return Fate.OFFLOAD if blocks <= _room_blocks(moment) else Fate.RELEASE

    def review(self, pinned: Sequence[ProgramView], away: Sequence[ProgramView], moment: Moment) -> Review:
        """Offload or give up the contexts of programs paused since; bring back those of programs no longer paused."""
        paused = [p for p in pinned if p.paused]
        room = _room_blocks(moment)
        down: dict[ProgramView, None] = {}
        for program in sorted(paused, key=lambda p: (idleness(p, moment.now_s), p.seq)):
            blocks = program.pin.blocks if program.pin is not None else 0
            if blocks <= room:
                down[program] = None
                room -= blocks
        return Review(
            give_up=[p for p in paused if p not in down],
            offload=list(down),
            bring=[p for p in away if not p.paused],
        )

    def pin_to_break(self, pinned: Sequence[ProgramView], head: TurnView, moment: Moment) -> ProgramView | None:
        """Return the most idle program; the latest on ties."""
        return max(pinned, key=lambda p: (idleness(p, moment.now_s), p.seq))


def _room_blocks(moment: Moment) -> int:
    return -1 if moment.engine.tier is None else moment.engine.tier.spare_blocks


register_preset(
    Preset(
        name="mori",
        rule="Every `period` seconds ranks programs by idleness = acting / (acting + reasoning) of 5 turns and demotes "
        "the most idle until the rest fits: their contexts go to host memory (--dram-gb) while there is room, else "
        "they are given up, and their turns wait. On promotion they are brought back. The others' contexts are last in "
        "eviction order, the busiest at the very end.",
        source="MORI (arXiv 2606.00866), its GPU, CPU and waiting queues",
        retention=Busiest,
        admission=Mori,
    )
)
