"""What one step of an engine computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from continuum_sim.engine.request import Request
from continuum_sim.steptime.batch import StepBatch, prefill_pairs

_NOTHING: Final = StepBatch(0, 0, 0, 0, 0, 0)


class Plan:
    """What the scheduler decided for one step."""

    __slots__ = (
        "admitted",
        "batch",
        "changed",
        "chunks",
        "decodes",
        "empty",
        "end_s",
        "ended",
        "follows_skip",
        "given",
        "held",
        "hung_up",
        "lacks",
        "late",
        "padded",
        "preempted",
        "prefills",
        "sampling",
        "skipped",
        "spent",
        "verified",
        "wasted_tokens",
    )

    def __init__(self) -> None:
        self.chunks: list[tuple[Request, int]] = []
        """Prefilling turns and the tokens each computes, in order of admission."""
        self.preempted: Sequence[Request] = ()
        self.skipped: Sequence[Request] = ()
        """Decoding turns that get no token in this step."""
        self.lacks = 0
        """Blocks that must be free before the first waiting turn can be admitted; 0 if it waits for something else."""
        self.follows_skip = False
        """Whether the step before left turns out, so that their gaps between tokens end in this one."""
        self.held = False
        """Whether it computes no prompt because the last one is too recent (see `cadence.py`)."""
        self.prefills = False
        """Whether it was to go on with a prompt, even of a turn that it preempted later."""
        self.admitted: Sequence[Request] = ()
        """Turns that entered the batch in this step; their entries are the last of `chunks`."""
        self.spent = False
        """Whether the token budget is used up, so that not every waiting turn may have been tried."""
        self.changed = False
        """Whether the state changed even if nothing is scheduled (a preemption, a pin that ended)."""
        self.sampling: list[Request] = []
        """Turns whose prompt this step completes: it gives them a token, and they decode from the next one on."""
        self.ended: list[Request] = []
        """Turns that get their last token from this step, in the order of the batch."""
        self.late: list[tuple[int, Request]] = []
        """Turns preempted after this step was planned, whose token is still to come, with their ranks in the batch."""
        self.hung_up: Sequence[Request] = ()
        """Turns that get the last token their client waits for from this step, but not their own last one."""
        self.wasted_tokens = 0
        """Tokens that this step computes for turns which, by then, have ended; with drafts, one a turn."""
        self.verified: dict[Request, int] = {}
        """With drafts or stages: decoding turns and the tokens each computes, in the order of the batch."""
        self.padded: dict[Request, int] = {}
        """With drafts: admitted turns that lack one token, and the rows beside it that stand for drafts."""
        self.given: dict[Request, int] = {}
        """With drafts or stages, once it is counted: the tokens it gives each turn that computes more than a prompt."""
        self.end_s = 0.0
        """With stages: when the last of them is done with the step."""
        self.decodes = 0
        """Decoding turns of the step."""
        self.batch = _NOTHING
        self.empty = True
        """Whether the step computes nothing."""

    def twin(self) -> Plan:
        """Return a plan of the same work, for a step in which no turn begins or ends."""
        twin = Plan()
        twin.chunks, twin.batch, twin.empty, twin.decodes = self.chunks, self.batch, False, self.decodes
        twin.verified, twin.given = self.verified, self.given
        return twin

    def tokens_for(self, request: Request) -> int:
        """Return the tokens that a running turn computes, as long as the step is not counted yet."""
        if request in self.verified:
            return self.verified[request]
        prompt = self._prompt_tokens(request) + self.padded.get(request, 0)
        if request.counted_alone:
            return prompt
        return prompt or int(request.decoding and request not in self.skipped)

    def takes_part(self, request: Request) -> bool:
        """Return whether this step, which is counted, computes a token of a decoding turn."""
        return request in self.verified if request.counted_alone else request not in self.skipped

    def tokens_in_flight(self, request: Request) -> int:
        """Return the tokens that this step, which is planned and not over, computes of a turn that still runs."""
        if request.counted_alone:
            prompt = self._prompt_tokens(request)
            return prompt + self.padded.get(request, 0) if prompt else self.verified.get(request, 0)
        return self._prompt_tokens(request) or int(self.gives_token_to(request))

    def _prompt_tokens(self, request: Request) -> int:
        for prefilling, tokens in self.chunks:
            if prefilling is request:
                return tokens
        return 0

    def gives_token_to(self, request: Request) -> bool:
        """Return whether this step, which is planned and not over, gives a turn that still runs a token."""
        if request.counted_alone:
            return self.given.get(request, 0) > 0
        return request in self.sampling or (
            (request.decoding or request.has_all_tokens) and request not in self.skipped
        )

    def tokens_given_to(self, request: Request) -> int:
        """Return the tokens that this step, which is counted, gives a turn that it gives any."""
        return self.given[request] if request.counted_alone else 1

    def computes(self, decode_requests: int, decode_context_tokens: int) -> None:
        """Sum up what the step computes; if that is nothing, the plan stays empty."""
        if not self.chunks and not decode_requests:
            return
        self.empty = False
        self.decodes = decode_requests
        tokens = context = pairs = 0
        for request, chunk in self.chunks:
            start = request.num_computed_tokens
            tokens += chunk
            context += start
            pairs += prefill_pairs(chunk, start)
        self.batch = StepBatch(len(self.chunks), tokens, context, pairs, decode_requests, decode_context_tokens)


def steps_of(plans: Sequence[Plan], request: Request) -> list[Plan]:
    """Return which of the steps that are planned and not over compute tokens of a running turn."""
    found: list[Plan] = []
    for plan in reversed(plans):
        if request in plan.ended and not request.stops:
            found.clear()  # its end was foreseen
        if plan.tokens_in_flight(request):
            found.append(plan)
        if request in plan.admitted:
            break
    return found
