"""The pin ledger: which programs' contexts are pinned, until when, and how their pins ended."""

from __future__ import annotations

import heapq
import math
from bisect import insort
from typing import Protocol

from continuum_sim.policies.host.counts import PolicyCounts
from continuum_sim.policies.instants import LATE_S
from continuum_sim.policies.views import Pin, ProgramView

_Expiry = tuple[float, int, int, Pin]
"""(time in s, program's seq, sequence number, pin)."""


class ContextBlocks(Protocol):
    """What a host implements to free, offload and recall the KV blocks of its programs' contexts."""

    def unpin(self, program: ProgramView) -> None:
        """Free the blocks that a program's pin holds."""

    def offload(self, program: ProgramView, now_s: float) -> None:
        """Copy a pinned context to host memory; the caller then ends the pin."""

    def recall(self, program: ProgramView, now_s: float) -> int | None:
        """Start bringing a context back; return its blocks (0 if nothing is left), or None if there is no room."""


class PinLedger:
    """The pins of one engine.

    The host records a pin when it keeps the blocks (`start`, `shrink`). Every call that ends a pin also frees its
    blocks, so that neither half can be forgotten.
    """

    def __init__(self, contexts: ContextBlocks) -> None:
        self.contexts = contexts
        """Frees and moves the pinned blocks."""
        self.counts = PolicyCounts()
        self.pinned: list[ProgramView] = []
        """Pinned programs, in order of arrival."""
        self._by_seq: dict[int, ProgramView] = {}
        self._expiries: list[_Expiry] = []
        self._pushed = 0

    def start(self, program: ProgramView, ttl_s: float, blocks: int, now_s: float) -> None:
        """Record a pin of blocks that the host keeps referenced from now on."""
        program.pin = Pin(now_s + ttl_s, blocks, now_s)
        insort(self.pinned, program, key=_arrival)
        self._by_seq[program.seq] = program
        self._push_expiry(program, program.pin)
        self.counts.pins_made += 1

    def hit(self, program: ProgramView, now_s: float, *, outlasts: bool) -> None:
        """Record that a program's next turn runs on its pin; the pin then ends, unless it `outlasts` the admission."""
        pin = program.pin
        assert pin is not None
        self.counts.pins_hit += not pin.hit
        if outlasts:
            program.pin = pin = pin._replace(hit=True)
            self._push_expiry(program, pin)
        else:
            self.end(program, now_s)

    def shrink(self, program: ProgramView, blocks: int, now_s: float) -> None:
        """Record that the host has freed part of a pin, which now holds only `blocks` blocks."""
        pin = program.pin
        assert pin is not None
        self.counts.pinned_block_seconds += pin.blocks * (now_s - pin.made_s)
        program.pin = Pin(pin.expires_s, blocks, now_s, pin.hit)

    def end(self, program: ProgramView, now_s: float) -> None:
        """End a pin that served its purpose or whose program is gone, and free its blocks."""
        assert program.pin is not None
        self.counts.pinned_block_seconds += program.pin.blocks * (now_s - program.pin.made_s)
        program.pin = None
        self.pinned.remove(program)
        del self._by_seq[program.seq]
        self.contexts.unpin(program)

    def expire(self, program: ProgramView, now_s: float) -> None:
        """End a pin whose time is up or that the rule's review gave up."""
        self.counts.pins_expired += not (program.pin and program.pin.hit)
        self.end(program, now_s)

    def break_pin(self, program: ProgramView, now_s: float) -> None:
        """End a pin because its blocks are needed or worthless."""
        self.counts.pins_broken += not (program.pin and program.pin.hit)
        self.end(program, now_s)

    def hand_over(self, program: ProgramView, now_s: float) -> None:
        """End a pin because its program moves to another engine."""
        self.counts.pins_moved += not (program.pin and program.pin.hit)
        self.end(program, now_s)

    def due(self, now_s: float) -> list[ProgramView]:
        """Return the programs whose pins have expired, except those whose next turn already waits.

        Each expiry is looked at once: it is dropped even if the program's next turn waits.
        """
        expiries = self._expiries
        due: list[ProgramView] = []
        while expiries and now_s >= expiries[0][0] + LATE_S:
            program = self._program_of(heapq.heappop(expiries))
            if program is not None:
                due.append(program)
        return due

    def any_due(self, now_s: float) -> bool:
        """Return whether `due` has any expiry to look at."""
        return bool(self._expiries) and now_s >= self._expiries[0][0] + LATE_S

    def next_expiry_s(self) -> float:
        """Return the earliest time at which a pin expires; may be infinite."""
        expiries = self._expiries
        while expiries:
            if self._program_of(expiries[0]) is not None:
                return expiries[0][0]
            heapq.heappop(expiries)
        return math.inf

    def _push_expiry(self, program: ProgramView, pin: Pin) -> None:
        if pin.expires_s < math.inf:
            self._pushed += 1
            heapq.heappush(self._expiries, (pin.expires_s, program.seq, self._pushed, pin))

    def _program_of(self, entry: _Expiry) -> ProgramView | None:
        """Return the program of a heap entry; None if the pin is gone or the program's next turn waits."""
        program = self._by_seq.get(entry[1])
        if program is None or program.pin is not entry[3]:
            return None
        return program if program.turn_end_s is not None or (program.turn and program.turn.running) else None


def _arrival(program: ProgramView) -> int:
    return program.seq
