"""vLLM's block pool restated with one object per block (`vllm/v1/core/block_pool.py`), to check runs against."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(eq=False)
class Block:
    """One KV block: its references, and the content by which it can be found (None: none)."""

    refs: int = 0
    content: Hashable | None = None


class NaivePool:
    """Free queue as a list of blocks; cache as a dict from content to its blocks, in order of caching."""

    def __init__(self, num_blocks: int) -> None:
        self.queue: list[Block] = [Block() for _ in range(num_blocks)]
        self.cached: dict[Hashable, list[Block]] = {}

    @property
    def free(self) -> int:
        return len(self.queue)

    def find(self, contents: Sequence[Hashable]) -> list[Block]:
        """Return the blocks of the longest cached prefix; of several copies, the one cached first."""
        hits = []
        for content in contents:
            if content not in self.cached:
                break
            hits.append(self.cached[content][0])
        return hits

    def allocate(self, number: int) -> list[Block]:
        """Take blocks from the front of the queue; their contents can no longer be found."""
        assert number <= self.free
        taken, self.queue = self.queue[:number], self.queue[number:]
        for block in taken:
            self._forget(block)
            block.refs = 1
        return taken

    def touch(self, blocks: Sequence[Block]) -> None:
        for block in blocks:
            if not block.refs:
                self.queue.remove(block)
            block.refs += 1

    def cache(self, block: Block, content: Hashable) -> None:
        assert block.content is None
        block.content = content
        self.cached.setdefault(content, []).append(block)

    def release(self, blocks: Sequence[Block], *, forget: bool = False) -> None:
        """Drop one reference each, the last block first; cached blocks join the back of the queue, others the front."""
        first, last = [], []
        for block in reversed(blocks):
            block.refs -= 1
            assert block.refs >= 0
            if block.refs == 0:
                if forget:
                    self._forget(block)
                (first if block.content is None else last).append(block)
        self.queue = first + self.queue + last

    def _forget(self, block: Block) -> None:
        if block.content is not None:
            copies = self.cached[block.content]
            copies.remove(block)
            if not copies:
                del self.cached[block.content]
            block.content = None
