"""The running turns of an engine with several batches under way, and what of a turn the next one may compute.

Names follow `Scheduler` and `AsyncScheduler` of `vllm/v1/core/sched`: there a turn's `num_computed_tokens` counts the
tokens of steps under way too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.decoding import NEVER, Decoding
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Flight, Request


def flight(request: Request) -> Flight:
    """Return what steps under way compute of a turn."""
    assert request.flight is not None
    return request.flight


class PipelinedDecoding(Decoding):
    """The decoding turns: each is in one batch at a time, or in two with steps planned ahead."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config.block_size)
        self._ahead = config.async_scheduling
        self._longest = config.max_model_len

    def computed(self, request: Request) -> int:
        """Return how many tokens of a decoding turn have KV once every planned step has run."""
        return request.num_computed_tokens

    def next_tokens(self, request: Request, budget: int) -> int:
        """Return how many tokens the next step computes of a turn: none before its latest token is there.

        With steps planned ahead it may be on its way, unless it surely is the last.
        """
        coming = flight(request).output_placeholders
        if not coming:
            return 1
        if not self._ahead:
            return 0
        last = self._longest if request.stops else request.prompt_tokens + request.max_tokens
        known = request.num_computed_tokens + 1 - coming
        return int(known + 1 < last and request.num_computed_tokens + 1 < self._longest)

    def steps_to_first_end(self) -> int:
        """Return `NEVER`: steps are carried out one by one."""
        return NEVER

    def sum_up(self, plan: Plan) -> None:
        """Sum up what a planned step computes."""
        plan.computes(len(plan.verified), sum([request.num_computed_tokens + 1 for request in plan.verified]))

    def add(self, request: Request) -> None:
        """Add a turn whose prompt is computed and whose first token, at least, is planned."""
        request.last_decode = 0
        self.count += 1

    def remove(self, request: Request) -> None:
        """Remove a turn."""
        request.last_decode = -1
        self.count -= 1

    def skip(self, request: Request) -> None:
        """Leave a turn out of the next step, which changes nothing."""


class PipelinedBatch(Batch):
    """Turns that hold blocks and compute, each counted alone."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config.block_size, foresees=False)
        self.decoding = PipelinedDecoding(config)
        self._wait_calls = config.pipeline_parallel_size if config.async_scheduling else 0
        """Calls from one that plans a token of a turn to the next that may (`decode_stagger`)."""
        self._eligible_step = 0

    @property
    def any_passed_over(self) -> bool:
        """Whether a later call of `schedule` may plan a turn that the latest did not."""
        return self.calls < self._eligible_step

    def passes_over(self, request: Request, *, held: bool) -> bool:
        """Return whether the step that is being planned leaves out a running turn, whatever there is to compute."""
        return self.calls < flight(request).eligible_step or (held and not request.decoding)

    def tokens_in_flight(self, request: Request, ahead: Plan | None) -> int:
        """Return the tokens of a running turn in steps that are not over."""
        return flight(request).in_flight_tokens

    def scheduled(self, request: Request, tokens: int) -> None:
        """Note that a step that is being planned computes so many tokens of a turn: vLLM caches its full blocks."""
        at = flight(request)
        known = request.num_tokens
        if request.decoding:
            known = request.num_computed_tokens + 1 - at.output_placeholders
        at.hashed_tokens = max(at.hashed_tokens, min(request.num_computed_tokens + tokens, known))

    def take_part(self, plan: Plan, order: Sequence[Request], scheduled: Mapping[int, int]) -> Iterator[Request]:
        """Yield the prompts that a planned step goes on with, and note which decoding turns take part in it."""
        for request in order:
            tokens = scheduled.get(request.rank, 0)
            if tokens and request.decoding:
                plan.verified[request] = tokens
            elif tokens:
                yield request

    def update_after_schedule(self, plan: Plan, before: Plan | None) -> None:
        """Count what a planned step computes, and note in the plan which turns it gives their first or last token."""
        ended: list[Request] = []
        for request in plan.verified:
            self.compute(request, 1)
            self._samples(plan, request, 1, ended)
        for request, tokens in plan.chunks:
            self.compute(request, tokens)
            if request.num_computed_tokens < request.num_tokens:
                self.prefilling[request.rank] = request
                flight(request).in_flight_tokens += tokens
                continue
            self.prefilling.pop(request.rank, None)
            plan.sampling.append(request)
            self.decoding.add(request)
            self._samples(plan, request, tokens, ended)
        if ended:
            self._note_ends(plan, ended)

    def _samples(self, plan: Plan, request: Request, tokens: int, ended: list[Request]) -> None:
        """Count a step that samples a token of a turn."""
        at = flight(request)
        at.in_flight_tokens += tokens
        at.output_placeholders += 1
        if self._wait_calls:
            at.eligible_step = self._eligible_step = self.calls + self._wait_calls
        if request.has_all_tokens:
            plan.given[request] = 0
            plan.wasted_tokens += 1
            return
        plan.given[request] = 1
        request.num_output_tokens += 1
        if request.num_output_tokens == request.max_tokens:
            ended.append(request)
        elif request.num_output_tokens == request.wanted_tokens:
            plan.hung_up = [*plan.hung_up, request]

    def samples(self, plan: Plan) -> bool:
        """Return whether a step that is not counted yet samples any token."""
        return bool(plan.verified) or any(r.num_computed_tokens + tokens == r.num_tokens for r, tokens in plan.chunks)

    def preempted(self, request: Request, rank: int, plans: Sequence[Plan]) -> bool:
        """Let the tokens on their way to a turn that is preempted come late; return whether there are any."""
        at, late = flight(request), False
        at.stale, at.output_placeholders, at.hashed_tokens = at.in_flight_tokens > 0, 0, 0
        for plan in plans:
            if plan.given.get(request, 0):
                request.num_output_tokens -= 1
                plan.late.append((rank, request))
                late = True
        return late

    def step_over(self, plan: Plan) -> None:
        """Note that a step is over, before its tokens are handed out."""
        for request, tokens in plan.chunks:
            self._over(request, tokens, request in plan.given)
        for request, tokens in plan.verified.items():
            self._over(request, tokens, True)

    def _over(self, request: Request, tokens: int, samples: bool) -> None:
        at = flight(request)
        at.in_flight_tokens -= tokens
        if at.stale:
            at.stale = at.in_flight_tokens > 0
        elif samples:
            at.output_placeholders -= 1
            if self._wait_calls:
                known = request.num_computed_tokens - at.output_placeholders
                at.hashed_tokens = max(at.hashed_tokens, known)

    def with_late_tokens(self, plan: Plan, now_s: float) -> Iterator[Request]:
        """Yield the turns that end with a step, each after late tokens of turns that precede it in the batch."""
        ranks = {request: rank for rank, request in plan.late}
        for request in sorted({**ranks, **dict.fromkeys(plan.ended)}, key=lambda r: ranks.get(r, r.rank)):
            if request in ranks:
                request.num_output_tokens += 1
                request.preempted_from_s = now_s
            if request in plan.ended:
                yield request

    def withdraw(self, request: Request, plans: Sequence[Plan]) -> int:
        """Let no planned step hand a turn a token; return how many of its tokens others may find."""
        for plan in plans:
            if plan.given.get(request, 0):
                plan.given[request] = 0
                plan.wasted_tokens += 1
            if request in plan.sampling:
                plan.sampling.remove(request)
                plan.wasted_tokens -= 1
            plan.late = [entry for entry in plan.late if entry[1] is not request]
            plan.ended = [ended for ended in plan.ended if ended is not request]
            plan.hung_up = [hung_up for hung_up in plan.hung_up if hung_up is not request]
        return flight(request).hashed_tokens
