"""What one step of an engine computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from continuum_sim.engine.request import Request
from continuum_sim.steptime.batch import StepBatch, prefill_pairs

_NOTHING: Final = StepBatch(0, 0, 0, 0, 0, 0)


class Plan:
    """What the scheduler decided for one step."""

    __slots__ = ("admitted", "batch", "changed", "chunks", "empty", "preempted", "skipped", "spent")

    def __init__(self) -> None:
        self.chunks: list[tuple[Request, int]] = []
        """Prefilling turns and the tokens each computes, in order of admission."""
        self.preempted: Sequence[Request] = ()
        self.skipped: Sequence[Request] = ()
        """Running turns that get no token in this step."""
        self.admitted: Sequence[Request] = ()
        """Turns that entered the batch in this step; their entries are the last of `chunks`."""
        self.spent = False
        """Whether the token budget is used up, so that not every waiting turn may have been tried."""
        self.changed = False
        """Whether the state changed even if nothing is scheduled (a preemption, a pin that ended)."""
        self.batch = _NOTHING
        self.empty = True
        """Whether the step computes nothing."""

    def computes(self, decode_requests: int, decode_context_tokens: int) -> None:
        """Sum up what the step computes; if that is nothing, the plan stays empty."""
        if not self.chunks and not decode_requests:
            return
        self.empty = False
        tokens = context = pairs = 0
        for request, chunk in self.chunks:
            start = request.num_computed_tokens
            tokens += chunk
            context += start
            pairs += prefill_pairs(chunk, start)
        self.batch = StepBatch(len(self.chunks), tokens, context, pairs, decode_requests, decode_context_tokens)
