"""All decoding turns of a batch as one aggregate.

Every decoding turn gains one token per step. So a turn's computed tokens are a common counter plus the turn's own
offset; it gets its last token at a fixed value of the counter; and it enters a new block whenever the counter has a
certain residue modulo the block size. Any number of steps costs the same as one. The counter runs ahead of the engine:
it counts a step when that is planned.
"""

from __future__ import annotations

import heapq
from typing import Final

from continuum_sim.engine.groups.due import DueTurns
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request

NEVER: Final = 1 << 60
"""More steps than any run has."""


class Decoding:
    """The turns of a batch that decode."""

    def __init__(self, block_size: int) -> None:
        self.count = 0
        """Number of decoding turns."""
        self.due: DueTurns | None = None
        """The turns by the steps in which they take or free blocks, if there are several KV cache groups."""
        self.limited = 0
        """Number of those that end by the token limit."""
        self._block_size = block_size
        self._counter = 0
        self._offsets = 0
        self._residues = [0] * block_size
        """By residue of the counter: number of turns that enter a new block in the next step."""
        self._ends: list[tuple[int, int, Request]] = []
        """Heap of (counter at the last token, rank of admission, turn); entries of turns that have left are stale."""
        self._hang_ups: list[tuple[int, int, Request]] = []
        """The same for the last token that a turn's client waits for, if that is not the turn's last."""

    @property
    def counter(self) -> int:
        """Steps planned so far."""
        return self._counter

    def computed(self, request: Request) -> int:
        """Return how many tokens of a decoding turn have KV."""
        return self._counter + request.offset

    def next_tokens(self, request: Request, budget: int) -> int:
        """Return how many tokens the next step computes of a decoding turn, at most `budget`."""
        return 1

    def context_tokens(self) -> int:
        """Return the tokens that the next step attends to, including the new ones, summed over all decoding turns."""
        return self.count * (self._counter + 1) + self._offsets

    def sum_up(self, plan: Plan) -> None:
        """Sum up what a planned step computes."""
        requests, context = self.count, self.context_tokens()
        for request in plan.skipped:
            requests -= 1
            context -= self.computed(request) + 1
        plan.computes(requests, context)

    def blocks_of_next_step(self) -> int:
        """Return how many blocks all turns together enter in the next step."""
        return self._residues[self._counter % self._block_size]

    def new_blocks(self, after: int, steps: int) -> int:
        """Return the blocks that all turns together enter in `steps` steps, which follow the next `after` steps."""
        if not self.count:
            return 0
        size = self._block_size
        blocks = steps // size * self.count
        first = (self._counter + after) % size
        stop = first + steps % size
        if stop <= size:
            return blocks + sum(self._residues[first:stop])
        return blocks + sum(self._residues[first:]) + sum(self._residues[: stop - size])

    def steps_to_fill(self, ahead: int) -> int:
        """Return in how many steps some turn's computed tokens, and so many beside them, fill a block."""
        size = self._block_size
        for steps in range(1, size + 1):
            if self._residues[(self._counter + steps - 1 + ahead) % size]:
                return steps
        return NEVER

    def steps_to_first_end(self) -> int:
        """Return the number of steps until some turn has all its tokens; at least one turn must lack some."""
        ends = self._ends
        while True:
            end, rank, request = ends[0]
            if request.last_decode == end and request.rank == rank:
                return end - self._counter
            heapq.heappop(ends)

    def steps_to_hang_up(self) -> int:
        """Return the number of steps until some turn has all tokens that its client waits for."""
        entries = self._hang_ups
        while entries:
            end, rank, request = entries[0]
            if request.last_wanted == end and request.rank == rank:
                return end - self._counter
            heapq.heappop(entries)
        return NEVER

    def add(self, request: Request) -> None:
        """Add a turn whose prompt is computed and whose first token, at least, is planned."""
        self._place(request, request.num_computed_tokens - self._counter, self._counter)

    def remove(self, request: Request) -> None:
        """Remove a turn and record in it what it has computed and sampled."""
        computed = self._counter + request.offset
        request.work_tokens += computed - request.num_computed_tokens
        request.num_computed_tokens = computed
        request.num_output_tokens = request.max_tokens - max(0, request.last_decode - self._counter)
        if self.due is not None:
            self.due.remove(request)
        request.last_decode = request.last_wanted = -1
        self.count -= 1
        self.limited -= not request.stops
        self._offsets -= request.offset
        self._residues[-request.offset % self._block_size] -= 1

    def skip(self, request: Request) -> None:
        """Leave a turn out of the next step."""
        rank = request.rank
        self.remove(request)
        request.rank = rank
        self._place(request, request.offset - 1, self._counter + 1)
        if self.due is not None:
            self.due.skip(request)

    def advance(self, steps: int) -> list[Request]:
        """Advance by `steps` steps; return the turns that got their last token, which are not removed yet."""
        self._counter += steps
        finished = []
        ends = self._ends
        while ends and ends[0][0] <= self._counter:
            end, rank, request = heapq.heappop(ends)
            if request.last_decode == end and request.rank == rank:
                finished.append(request)
        return finished

    def hang_ups(self) -> list[Request]:
        """Return the turns that have just got the last token that their client waits for."""
        found = []
        while self._hang_ups and self.steps_to_hang_up() <= 0:
            request = heapq.heappop(self._hang_ups)[2]
            request.last_wanted = -1
            found.append(request)
        return found

    def _place(self, request: Request, offset: int, counter: int) -> None:
        """Let a turn decode from this value of the counter on, unless it has all its tokens already."""
        left = request.max_tokens - request.num_output_tokens
        request.offset = offset
        if self.due is not None:
            self.due.add(request)
        request.last_decode = counter + left if left else self._counter
        self.count += 1
        self.limited += not request.stops
        self._offsets += offset
        self._residues[-offset % self._block_size] += 1
        if left:
            heapq.heappush(self._ends, (request.last_decode, request.rank, request))
        wanted = request.wanted_tokens - request.num_output_tokens
        if wanted > 0:
            request.last_wanted = counter + wanted
            heapq.heappush(self._hang_ups, (request.last_wanted, request.rank, request))
