"""The decision log: one method per event, so that this file lists everything that a log can hold."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from continuum_sim.policies.planes import Decision, PinFor
from continuum_sim.policies.views import ProgramView, TurnView

LogDecision = Callable[[float, str, int, str, dict[str, Any]], None]
"""Called with (time in s, program, turn index, event, detail) for every decision."""


class DecisionLog:
    """Passes decisions to a callback; without one, drops them."""

    def __init__(self, write: LogDecision | None) -> None:
        self._write = write

    def arrived(self, turn: TurnView, now_s: float) -> None:
        """A turn entered the queue."""
        if self._write is not None:
            self._turn(turn, now_s, "arrive", {"prompt_tokens": turn.prompt_tokens})

    def held(self, turn: TurnView, now_s: float) -> None:
        """The gate held a turn for the first time."""
        if self._write is not None:
            self._turn(turn, now_s, "hold", {})

    def admitted(self, turn: TurnView, cached_tokens: int, now_s: float) -> None:
        """A turn entered the batch."""
        if self._write is not None:
            self._turn(turn, now_s, "admit", {"cached_tokens": cached_tokens})

    def reloads(self, turn: TurnView, tokens: int, now_s: float) -> None:
        """An admitted turn waits for tokens from a lower memory tier."""
        if self._write is not None:
            self._turn(turn, now_s, "reload", {"tokens": tokens})

    def preempted(self, turn: TurnView, now_s: float) -> None:
        """A running turn lost its blocks."""
        if self._write is not None:
            self._turn(turn, now_s, "preempt", {})

    def ended(self, turn: TurnView, decision: Decision, *, tool: str | None, last: bool, now_s: float) -> None:
        """A turn ended; `decision` is what becomes of its blocks."""
        if self._write is None:
            return
        detail: dict[str, Any] = {"last": last, "tool": tool}
        if isinstance(decision, PinFor):
            self._turn(turn, now_s, "pin", {**detail, "ttl_s": decision.ttl_s})
        else:
            self._turn(turn, now_s, decision.value, detail)

    def aborted(self, turn: TurnView, unpinned: bool, now_s: float) -> None:
        """The client aborted a turn."""
        if self._write is not None:
            self._turn(turn, now_s, "abort", {"unpinned": unpinned})

    def expired(self, program: ProgramView, now_s: float) -> None:
        """A pin expired, or the rule's review gave it up."""
        if self._write is not None:
            self._program(program, now_s, "expire", {})

    def broken(self, program: ProgramView, head: ProgramView, now_s: float) -> None:
        """A pin was broken to make room for a turn of `head`."""
        if self._write is not None:
            self._program(program, now_s, "break", {"for": head.program_id})

    def unpinned(self, program: ProgramView, reason: str, now_s: float) -> None:
        """A pin ended for a reason outside the policy."""
        if self._write is not None:
            self._program(program, now_s, "unpin", {"reason": reason})

    def offloaded(self, program: ProgramView, now_s: float) -> None:
        """A pinned context was copied to host memory."""
        if self._write is not None:
            self._program(program, now_s, "offload", {})

    def recalled(self, program: ProgramView, blocks: int, now_s: float) -> None:
        """A context began to come back from host memory."""
        if self._write is not None:
            self._program(program, now_s, "recall", {"blocks": blocks})

    def came_back(self, program: ProgramView, now_s: float) -> None:
        """A recalled context has arrived and is pinned until its program's next turn."""
        if self._write is not None:
            self._program(program, now_s, "pin", {"ttl_s": math.inf})

    def moved(self, program: ProgramView, to: int, now_s: float) -> None:
        """A program moved to another engine."""
        if self._write is not None:
            self._program(program, now_s, "move", {"to": to})

    def forgotten(self, program: ProgramView, unpinned: bool, now_s: float) -> None:
        """A program was silent for too long and counts as ended."""
        if self._write is not None:
            self._program(program, now_s, "forget", {"unpinned": unpinned})

    def _turn(self, turn: TurnView, now_s: float, event: str, detail: dict[str, Any]) -> None:
        assert self._write is not None
        self._write(now_s, turn.program.program_id, turn.index, event, detail)

    def _program(self, program: ProgramView, now_s: float, event: str, detail: dict[str, Any]) -> None:
        assert self._write is not None
        self._write(now_s, program.program_id, program.turns_done - 1, event, detail)
