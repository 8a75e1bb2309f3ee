"""All decoding turns of a batch as one aggregate.

A decoding turn gains one token in every step, and all of them do together. So the tokens a turn has computed
are one common counter plus its own offset; its end is a fixed value of the counter; and it enters a new block
whenever the counter has one residue modulo the block size. Any number of steps costs the same as one.
"""

from __future__ import annotations

import heapq

from continuum_sim.engine.request import Request


class Decoding:
    """The turns of a batch that decode."""

    def __init__(self, block_size: int) -> None:
        self.count = 0
        """How many turns decode."""
        self._block_size = block_size
        self._counter = 0
        self._offsets = 0
        self._residues = [0] * block_size
        """How many turns enter a new block when the counter has each residue."""
        self._ends: list[tuple[int, int, Request]] = []
        """Heap of (counter at the last token, rank of admission, turn); entries of turns that left are stale."""

    def computed(self, request: Request) -> int:
        """Tokens with KV of a decoding turn."""
        return self._counter + request.offset

    def context_tokens(self) -> int:
        """Σ over decoding turns of the tokens the next step attends to, the new one included."""
        return self.count * (self._counter + 1) + self._offsets

    def blocks_of_next_step(self) -> int:
        """Blocks that all turns together enter in the next step."""
        return self._residues[self._counter % self._block_size]

    def new_blocks(self, after: int, steps: int) -> int:
        """Blocks that all turns together enter in `steps` steps, counted from `after` steps ahead."""
        if not self.count:
            return 0
        size = self._block_size
        blocks = steps // size * self.count
        first = (self._counter + after) % size
        stop = first + steps % size
        if stop <= size:
            return blocks + sum(self._residues[first:stop])
        return blocks + sum(self._residues[first:]) + sum(self._residues[: stop - size])

    def steps_to_first_end(self) -> int:
        """Steps until some turn has all its tokens; asks for at least one decoding turn."""
        ends = self._ends
        while True:
            end, rank, request = ends[0]
            if request.last_decode == end and request.rank == rank:
                return end - self._counter
            heapq.heappop(ends)

    def add(self, request: Request) -> None:
        """Take in a turn whose prompt is computed and whose first token is sampled."""
        request.offset = request.num_computed_tokens - self._counter
        request.last_decode = self._counter + request.max_tokens - request.num_output_tokens
        self.count += 1
        self._offsets += request.offset
        self._residues[-request.offset % self._block_size] += 1
        heapq.heappush(self._ends, (request.last_decode, request.rank, request))

    def remove(self, request: Request) -> None:
        """Let a turn go and write what it has computed and sampled back to it."""
        computed = self._counter + request.offset
        request.work_tokens += computed - request.num_computed_tokens
        request.num_computed_tokens = computed
        request.num_output_tokens = request.max_tokens - (request.last_decode - self._counter)
        request.last_decode = -1
        self.count -= 1
        self._offsets -= request.offset
        self._residues[-request.offset % self._block_size] -= 1

    def skip(self, request: Request) -> None:
        """Leave a turn out of the coming step."""
        rank = request.rank
        self.remove(request)
        request.offset -= 1
        request.last_decode = self._counter + 1 + request.max_tokens - request.num_output_tokens
        request.rank = rank
        self.count += 1
        self._offsets += request.offset
        self._residues[-request.offset % self._block_size] += 1
        heapq.heappush(self._ends, (request.last_decode, rank, request))

    def advance(self, steps: int) -> list[Request]:
        """Let so many steps pass; returns the turns that sampled their last token (they are still counted)."""
        self._counter += steps
        finished = []
        ends = self._ends
        while ends and ends[0][0] <= self._counter:
            end, rank, request = heapq.heappop(ends)
            if request.last_decode == end and request.rank == rank:
                finished.append(request)
        return finished
