"""The running turns of an engine, and how far each of them is."""

from __future__ import annotations

from continuum_sim.engine.decoding import Decoding
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.policies.views import TurnView


class Batch:
    """Turns that hold blocks and compute: at most one prompt in part, and any number that decode."""

    def __init__(self, block_size: int) -> None:
        self.running: dict[int, Request] = {}
        """By rank of admission, which is also the order of iteration."""
        self.decoding = Decoding(block_size)
        self.prefilling: Request | None = None
        """The one turn whose prompt is partly computed, always the last one admitted: only a spent budget cuts a
        prompt, and then nothing is admitted behind it."""
        self.resumed_s: list[float] = []
        """Gaps between two tokens of a turn with a preemption between them, for whoever counts gaps to clear."""
        self._block_size = block_size
        self._admissions = 0

    def enter(self, request: Request, now_s: float) -> None:
        """Take in a turn that is admitted."""
        if request.scheduled_s < 0:
            request.scheduled_s = max(now_s, request.arrival_s)  # the same instant, but for the last bits
        request.rank = self._admissions
        self._admissions += 1
        self.running[request.rank] = request

    def leave(self, request: Request) -> None:
        """Let a turn go that ended or is preempted."""
        del self.running[request.rank]
        request.rank = -1
        if request.decoding:
            self.decoding.remove(request)
        elif self.prefilling is request:
            self.prefilling = None

    def computed(self, request: Request) -> int:
        """Tokens of a turn that have KV."""
        return self.decoding.computed(request) if request.decoding else request.num_computed_tokens

    def turn_so_far(self, request: Request) -> TurnView:
        """Return the view of a running turn with its progress, which is not written down at every step."""
        computed = request.work_tokens
        if request.decoding:
            computed += self.decoding.computed(request) - request.num_computed_tokens
        request.turn.computed_tokens = computed
        return request.turn

    def compute(self, request: Request, tokens: int) -> None:
        """Count tokens of a prompt that have been computed."""
        start = request.num_computed_tokens
        request.num_computed_tokens = stop = start + tokens
        request.work_tokens += tokens
        if start < request.known_tokens:
            request.recomputed_tokens += min(stop, request.known_tokens) - start

    def prompt_advanced(self, request: Request, now_s: float) -> bool:
        """Go on with a turn whose prompt was computed further; tells whether it has its last token with that."""
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
        """Blocks that steps 2 to `steps` of a plan take; a run of steps has one prompt at most."""
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
        """Count the time that a preemption took a turn, which gives its next token now."""
        lost_s = now_s - request.preempted_from_s
        request.preempted_from_s = -1.0
        request.preempted_s += lost_s
        if request.num_output_tokens == 0:
            request.preempted_first_s = request.preempted_s
        else:
            self.resumed_s.append(request.behind_s + lost_s)
            request.behind_s = 0.0
