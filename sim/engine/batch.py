"""The running turns of an engine and their progress."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from continuum_sim.engine.decoding import Decoding
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.speculation.decoding import SpeculativeDecoding
from continuum_sim.policies.views import TurnView
from continuum_sim.steptime.batch import grown


class Batch:
    """Turns that hold blocks and compute: some with a partly computed prompt, and others that decode."""

    def __init__(self, block_size: int, *, foresees: bool, drafts: SpeculativeDecoding | None = None) -> None:
        """Start empty.

        Parameters
        ----------
        foresees
            Whether turns that stop at a given length are left out of steps planned before their last token is there
            (asynchronous scheduling).
        drafts
            The decoding turns of an engine with speculative decoding.
        """
        self.running: dict[int, Request] = {}
        """Running turns by rank of admission, which is also the order of iteration."""
        self.decoding: Decoding = Decoding(block_size) if drafts is None else drafts
        self.drafts = drafts
        self.prefilling: dict[int, Request] = {}
        """Turns whose prompt is partly computed, by rank. Unless a threshold cuts prompts, that is at most the one
        admitted last: a prompt is cut only when the budget is used up, and then nothing is admitted after it."""
        self.resumed_s: list[float] = []
        """Gaps between two tokens with a preemption in between; whatever counts gaps clears the list."""
        self.calls = 0
        """Calls of `schedule` so far (`current_step`)."""
        self.first_tokens = 0
        """Times that a turn sampled its first token, or its first since a preemption."""
        self._block_size = block_size
        self._foresees = foresees
        self._admissions = 0

    def enter(self, plan: Plan, request: Request, now_s: float) -> None:
        """Add a turn that a planned step admits."""
        plan.admitted = [*plan.admitted, request]
        if request.scheduled_s < 0:
            request.scheduled_s = max(now_s, request.arrival_s)  # equal but for rounding
        request.rank = self._admissions
        self._admissions += 1
        self.running[request.rank] = request

    def leave(self, request: Request) -> None:
        """Remove a turn that ended or is preempted."""
        del self.running[request.rank]
        self.prefilling.pop(request.rank, None)
        request.rank = -1
        if request.decoding:
            self.decoding.remove(request)

    def computed(self, request: Request) -> int:
        """Return how many tokens of a turn have KV once every planned step has run."""
        return self.decoding.computed(request) if request.decoding else request.num_computed_tokens

    def passes_over(self, request: Request, *, held: bool) -> bool:
        """Return whether the step that is being planned leaves out a running turn, which keeps its seat and blocks.

        That is one whose prompt is `held` back, or whose last token is on its way.
        """
        return not request.decoding and (held or request.has_all_tokens)

    def tokens_in_flight(self, request: Request, ahead: Plan | None) -> int:
        """Return the tokens of a running turn in steps that are not over; `ahead` is the one planned before, if any."""
        return 0 if ahead is None else ahead.tokens_in_flight(request)

    def scheduled(self, request: Request, tokens: int) -> None:
        """Note that a step that is being planned computes so many tokens of a turn."""

    def step_over(self, plan: Plan) -> None:
        """Note that a step is over, before its tokens are handed out."""

    def turn_so_far(self, request: Request) -> TurnView:
        """Return the view of a running turn, updated with its progress, which is not recorded at every step."""
        computed = request.work_tokens
        if request.decoding:
            computed += self.decoding.computed(request) - request.num_computed_tokens
        request.turn.computed_tokens = computed
        return request.turn

    def compute(self, request: Request, tokens: int) -> None:
        """Record that `tokens` more tokens of a prompt are computed."""
        start = request.num_computed_tokens
        request.num_computed_tokens = stop = start + tokens
        request.work_tokens += tokens
        if start < request.known_tokens:
            request.recomputed_tokens += min(stop, request.known_tokens) - start

    def take_part(self, plan: Plan, order: Sequence[Request], scheduled: Mapping[int, int]) -> Iterator[Request]:
        """Yield the prompts that a planned step goes on with, and note which decoding turns take part in it, or not.

        Parameters
        ----------
        order
            The running turns.
        scheduled
            The tokens that the step computes, by the turn's rank.
        """
        skipped = []
        for request in order:
            tokens = scheduled.get(request.rank, 0)
            if not request.decoding:
                if tokens:
                    yield request
            elif tokens:
                if self.drafts is not None:
                    plan.verified[request] = tokens
            elif self.drafts is None or not request.has_all_tokens:
                skipped.append(request)
        plan.skipped = skipped

    def update_after_schedule(self, plan: Plan, before: Plan | None) -> None:
        """Count what a planned step computes, and note in the plan which turns it gives their first or last token.

        Parameters
        ----------
        before
            The step planned before and not over, if any.
        """
        if before is not None and before.ended:
            plan.wasted_tokens = sum([plan.tokens_for(request) > 0 for request in before.ended])
        if self.decoding.due is not None:
            self.decoding.due.settle()
        drafts = self.drafts
        ended = self.decoding.advance(1) if drafts is None else drafts.verify(plan)
        for request, tokens in plan.chunks:
            self.compute(request, tokens)
            if request.num_computed_tokens < request.num_tokens:
                self.prefilling[request.rank] = request
                continue
            self.prefilling.pop(request.rank, None)
            plan.sampling.append(request)
            request.num_output_tokens += 1
            self.decoding.add(request)
            if drafts is not None:
                drafts.sampled(plan, request)
            if request.num_output_tokens == request.max_tokens:
                ended.append(request)
            elif request.num_output_tokens == request.wanted_tokens:
                plan.hung_up = [*plan.hung_up, request]
        if ended:
            self._note_ends(plan, ended)
        self._note_hang_ups(plan)

    def repeat(self, plan: Plan, steps: int, before: Plan | None) -> None:
        """Count `steps` more steps like a planned one, whose prompt, if it has one, they do not complete.

        Parameters
        ----------
        before
            The step under way before it, if any: if the last of the steps is planned in vain, this one ends the turns.
        """
        if plan.chunks:
            request, chunk = plan.chunks[0]
            self.compute(request, chunk * steps)
        if self.drafts is not None:
            if ended := self.drafts.repeat(plan, steps, before):
                self._note_ends(plan, ended)
            return
        if before is not None:
            plan.batch = grown(plan.batch, steps)
        if before is not None and self.decoding.count:
            to_end = 0 if plan.ended else self.decoding.steps_to_first_end()
            if to_end < steps:
                ended = self.decoding.advance(to_end)
                if ended:
                    self._note_ends(plan, ended)
                before.ended, plan.ended = plan.ended, []
                plan.wasted_tokens = len(before.ended)
                steps -= to_end
        ended = self.decoding.advance(steps)
        if ended:
            self._note_ends(plan, ended)
        self._note_hang_ups(plan)

    def _note_hang_ups(self, plan: Plan) -> None:
        if found := self.decoding.hang_ups():
            plan.hung_up = [*plan.hung_up, *found]

    def _note_ends(self, plan: Plan, ended: list[Request]) -> None:
        if len(ended) > 1:
            ended.sort(key=_rank)
        plan.ended = ended
        for request in ended:
            request.has_all_tokens = True
            if self._foresees and not request.stops and self.drafts is None:
                self.decoding.remove(request)

    def growth_blocks(self, plan: Plan, steps: int) -> int:
        """Return the blocks that `steps` more steps like a planned one take; it has one prompt at most."""
        blocks = self.decoding.new_blocks(0, steps)
        if plan.chunks:
            request, chunk = plan.chunks[0]
            start, size = request.num_computed_tokens, self._block_size
            blocks += -(-(start + chunk * steps) // size) + (-start // size)
        return blocks

    def hand_out(self, plan: Plan, now_s: float) -> None:
        """Record the time of turns' first tokens, or of their first ones since they were preempted."""
        self.first_tokens += len(plan.sampling)
        for request in plan.sampling:
            if request.preempted_from_s >= 0:
                self._recover(request, now_s)
            if request.first_token_s < 0:
                request.first_token_s = now_s

    def with_late_tokens(self, plan: Plan, now_s: float) -> Iterator[Request]:
        """Yield the turns that end with a step, each after late tokens of turns that precede it in the batch."""
        ranks = {request: rank for rank, request in plan.late}
        for request in sorted({**ranks, **dict.fromkeys(plan.ended)}, key=lambda r: ranks.get(r, r.rank)):
            if request in ranks:
                request.num_output_tokens += plan.tokens_given_to(request)
                request.preempted_from_s = now_s
            if request.has_all_tokens:
                yield request

    def _recover(self, request: Request, now_s: float) -> None:
        """Record the time lost to preemptions by a turn that samples its next token now."""
        lost_s = now_s - request.preempted_from_s
        request.preempted_from_s = -1.0
        request.preempted_s += lost_s
        if request.first_token_s < 0:
            request.preempted_first_s = request.preempted_s
        else:
            self.resumed_s.append(request.behind_s + lost_s)
            request.behind_s = 0.0


def _rank(request: Request) -> int:
    return request.rank
