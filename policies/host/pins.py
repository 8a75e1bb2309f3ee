"""Which programs' contexts are pinned, until when, and what became of their pins."""

from __future__ import annotations

import heapq
import math
from bisect import insort
from typing import Protocol

from continuum_sim.policies.host.counts import PolicyCounts
from continuum_sim.policies.instants import LATE_S
from continuum_sim.policies.views import Pin, ProgramView

_Expiry = tuple[float, int, int, Pin]
"""(time in s, program's seq, running number, pin)."""


class ContextBlocks(Protocol):
    """The KV blocks of an engine's programs, which its host moves as pins end and contexts come and go."""

    def unpin(self, program: ProgramView) -> None:
        """Free the blocks that a program's pin holds."""

    def offload(self, program: ProgramView, now_s: float) -> None:
        """Copy a pinned context to host memory; its pin ends next."""

    def recall(self, program: ProgramView, now_s: float) -> int | None:
        """Start to bring a context back; returns its blocks (0 if nothing is left), or None for lack of room."""


class PinLedger:
    """The pins of one engine.

    The host enters a pin as it keeps the blocks (`start`, `shrink`). Whatever ends a pin frees its blocks in the same
    call, so neither half can be forgotten.
    """

    def __init__(self, contexts: ContextBlocks) -> None:
        self.contexts = contexts
        """Where the blocks are."""
        self.counts = PolicyCounts()
        self.pinned: list[ProgramView] = []
        """In order of the programs' arrival."""
        self._by_seq: dict[int, ProgramView] = {}
        self._expiries: list[_Expiry] = []
        self._pushed = 0

    def start(self, program: ProgramView, ttl_s: float, blocks: int, now_s: float) -> None:
        """Enter the pin of blocks that the host keeps from now on."""
        program.pin = Pin(now_s + ttl_s, blocks, now_s)
        insort(self.pinned, program, key=_arrival)
        self._by_seq[program.seq] = program
        self._push_expiry(program, program.pin)
        self.counts.pins_made += 1

    def hit(self, program: ProgramView, now_s: float, *, outlasts: bool) -> None:
        """Count that a program's next turn runs on its pin, which ends with this unless it outlasts the admission."""
        pin = program.pin
        assert pin is not None
        self.counts.pins_hit += not pin.hit
        if outlasts:
            program.pin = pin = pin._replace(hit=True)
            self._push_expiry(program, pin)
        else:
            self.end(program, now_s)

    def shrink(self, program: ProgramView, blocks: int, now_s: float) -> None:
        """Enter that the host has freed part of a pin, which holds only `blocks` now."""
        pin = program.pin
        assert pin is not None
        self.counts.pinned_block_seconds += pin.blocks * (now_s - pin.made_s)
        program.pin = Pin(pin.expires_s, blocks, now_s, pin.hit)

    def end(self, program: ProgramView, now_s: float) -> None:
        """End a pin that served its purpose, or whose program is gone, and free its blocks."""
        assert program.pin is not None
        self.counts.pinned_block_seconds += program.pin.blocks * (now_s - program.pin.made_s)
        program.pin = None
        self.pinned.remove(program)
        del self._by_seq[program.seq]
        self.contexts.unpin(program)

    def expire(self, program: ProgramView, now_s: float) -> None:
        """End a pin whose time is over."""
        self.counts.pins_expired += not (program.pin and program.pin.hit)
        self.end(program, now_s)

    def break_pin(self, program: ProgramView, now_s: float) -> None:
        """End a pin because its blocks are needed, or worthless."""
        self.counts.pins_broken += not (program.pin and program.pin.hit)
        self.end(program, now_s)

    def hand_over(self, program: ProgramView, now_s: float) -> None:
        """End a pin because its program goes to another engine."""
        self.counts.pins_moved += not (program.pin and program.pin.hit)
        self.end(program, now_s)

    def due(self, now_s: float) -> list[ProgramView]:
        """Programs whose pins are over by now and whose next turn does not wait already."""
        expiries = self._expiries
        due: list[ProgramView] = []
        while expiries and now_s >= expiries[0][0] + LATE_S:
            program = self._of(heapq.heappop(expiries))
            if program is not None:
                due.append(program)
        return due

    def any_due(self, now_s: float) -> bool:
        """Whether `due` has anything to look at."""
        return bool(self._expiries) and now_s >= self._expiries[0][0] + LATE_S

    def next_expiry_s(self) -> float:
        """Earliest time at which a pin is over; may be infinite."""
        expiries = self._expiries
        while expiries:
            if self._of(expiries[0]) is not None:
                return expiries[0][0]
            heapq.heappop(expiries)
        return math.inf

    def _push_expiry(self, program: ProgramView, pin: Pin) -> None:
        if pin.expires_s < math.inf:
            self._pushed += 1
            heapq.heappush(self._expiries, (pin.expires_s, program.seq, self._pushed, pin))

    def _of(self, entry: _Expiry) -> ProgramView | None:
        """Program that an entry of the heap is about, unless the pin is gone or its next turn waits."""
        program = self._by_seq.get(entry[1])
        if program is None or program.pin is not entry[3]:
            return None
        return program if program.turn_end_s is not None or (program.turn and program.turn.running) else None


def _arrival(program: ProgramView) -> int:
    return program.seq
