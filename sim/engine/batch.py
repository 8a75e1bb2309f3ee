"""The running turns of an engine and their progress."""

from __future__ import annotations

from continuum_sim.engine.decoding import Decoding
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.policies.views import TurnView


class Batch:
    """Turns that hold blocks and compute: at most one with a partly computed prompt, and any number that decode."""

    def __init__(self, block_size: int) -> None:
        self.running: dict[int, Request] = {}
        """Running turns by rank of admission, which is also the order of iteration."""
        self.decoding = Decoding(block_size)
        self.prefilling: Request | None = None
        """The one turn whose prompt is partly computed, always the last one admitted: a prompt is cut only when the
        budget is used up, and then nothing is admitted after it."""
        self.resumed_s: list[float] = []
        """Gaps between two tokens with a preemption in between; whatever counts gaps clears the list."""
        self._block_size = block_size
        self._admissions = 0

    def enter(self, request: Request, now_s: float) -> None:
        """Add a turn that is admitted."""
        if request.scheduled_s < 0:
            request.scheduled_s = max(now_s, request.arrival_s)  # equal but for rounding
        request.rank = self._admissions
        self._admissions += 1
        self.running[request.rank] = request

    def leave(self, request: Request) -> None:
        """Remove a turn that ended or is preempted."""
        del self.running[request.rank]
        request.rank = -1
        if request.decoding:
            self.decoding.remove(request)
        elif self.prefilling is request:
            self.prefilling = None

    def computed(self, request: Request) -> int:
        """Return how many tokens of a turn have KV."""
        return self.decoding.computed(request) if request.decoding else request.num_computed_tokens

    def turn_so_far(self, request: Request) -> TurnView:
        """Return the view of a running turn, updated with its progress, which is not recorded at every step."""
        computed = request.work_tokens
        if request.decoding:
            computed += self.decoding.computed(request) - request.num_computed_tokens
        request.turn.computed_tokens = computed
        return request.turn

    def compute(self, request: Request, tokens: int) -> None:
        """Record that `tokens` more tokens of a prompt have been computed."""
        start = request.num_computed_tokens
        request.num_computed_tokens = stop = start + tokens
        request.work_tokens += tokens
        if start < request.known_tokens:
            request.recomputed_tokens += min(stop, request.known_tokens) - start

    def prompt_advanced(self, request: Request, now_s: float) -> bool:
        """Update a turn after more of its prompt was computed; return True if that gave it its last token."""
        if request.num_computed_tokens < request.num_tokens:
            self.prefilling = request
            return False
        if self.prefilling is request:
            self.prefilling = None
        if request.preempted_from_s >= 0:
            self._recover(request, now_s)
        if request.num_output_tokens == 0:
            request.first_token_s = now_s
        request.num_output_tokens += 1
        if request.num_output_tokens == request.max_tokens:
            return True
        self.decoding.add(request)
        return False

    def growth_blocks(self, plan: Plan, steps: int) -> int:
        """Return the blocks that steps 2 to `steps` of a plan take; a plan for several steps has one prompt at most."""
        if steps <= 1:
            return 0
        blocks = self.decoding.new_blocks(1, steps - 1)
        if plan.chunks:
            request, chunk = plan.chunks[0]
            first = request.num_computed_tokens + chunk
            size = self._block_size
            blocks += -(-(first + chunk * (steps - 1)) // size) + (-first // size)
        return blocks

    def _recover(self, request: Request, now_s: float) -> None:
        """Record the time lost to preemptions by a turn that samples its next token now."""
        lost_s = now_s - request.preempted_from_s
        request.preempted_from_s = -1.0
        request.preempted_s += lost_s
        if request.num_output_tokens == 0:
            request.preempted_first_s = request.preempted_s
        else:
            self.resumed_s.append(request.behind_s + lost_s)
            request.behind_s = 0.0
