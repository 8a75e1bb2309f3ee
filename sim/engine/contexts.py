"""Where the KV content of each program can be found on one engine, and what its pin holds."""

from __future__ import annotations

from continuum_sim.engine.block_pool import BlockPool, BlockRun, Chain
from continuum_sim.engine.request import Context


class Contexts:
    """The contexts of the programs that are here, from their first turn to their last."""

    def __init__(self, pool: BlockPool, block_size: int) -> None:
        self._pool = pool
        self._block_size = block_size
        self._contexts: dict[str, Context] = {}
        self._shared: dict[str, Chain] = {}

    def open(self, program_id: str, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Start keeping track of a program's content."""
        shared = None if prefix_id is None else self._shared.setdefault(prefix_id, Chain())
        context = Context(shared, prefix_tokens // self._block_size)
        self._contexts[program_id] = context
        return context

    def find(self, program_id: str, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Return a program's context, or one such as it would have if it came here now."""
        context = self._contexts.get(program_id)
        if context is None:
            shared = self._shared.get(prefix_id) if prefix_id else None
            context = Context(shared, prefix_tokens // self._block_size)
        return context

    def __len__(self) -> int:
        return len(self._contexts)

    def __getitem__(self, program_id: str) -> Context:
        return self._contexts[program_id]

    def close(self, program_id: str) -> None:
        """Stop keeping track of a program that ended here or elsewhere."""
        del self._contexts[program_id]

    def keep_to(self, context: Context, kept_blocks: int) -> None:
        """Forget a program's own content from a block on, which no later turn of it asks for."""
        self._pool.abandon(context.own, kept_blocks)
        context.shared_blocks = min(context.shared_blocks, kept_blocks)

    def pin(self, context: Context, table: list[BlockRun]) -> None:
        """Let a pin hold the blocks of a table, which were a turn's or an upload's."""
        context.pinned = table
        self._pool.pin(table)

    def shrink_pin(self, context: Context, blocks: int) -> bool:
        """Free what a pin holds from a block on; tells whether that was anything."""
        if not context.pinned or context.pinned[-1].stop <= blocks:
            return False
        self._pool.unpin(context.pinned, blocks)
        return True

    def unpin(self, context: Context) -> None:
        """Free what a pin holds."""
        self._pool.unpin(context.pinned)
