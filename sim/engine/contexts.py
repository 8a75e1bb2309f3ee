"""Where each program's KV content is on one engine, and what its pin holds."""

from __future__ import annotations

from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.chain import BlockRun
from continuum_sim.engine.kv_cache_manager import KVCacheManager
from continuum_sim.engine.offload.connector import NoConnector
from continuum_sim.engine.request import Context
from continuum_sim.policies.host.pins import PinLedger
from continuum_sim.policies.views import ProgramView


class Contexts:
    """The contexts of the programs on this engine, from their first turn to their last.

    `pin` pins the blocks and records the pin in the ledger in one call; when the governor ends the pin, the ledger
    frees the blocks through `unpin`.
    """

    def __init__(self, pool: BlockPool, connector: NoConnector, manager: KVCacheManager) -> None:
        self.pins = PinLedger(self)
        self._pool = pool
        self._connector = connector
        self._manager = manager
        self._contexts: dict[str, Context] = {}

    def open(self, program_id: str, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Start tracking a program's content and return its context."""
        context = self._contexts[program_id] = self._manager.open_context(prefix_id, prefix_tokens)
        return context

    def reopen(self, program_id: str, context: Context) -> None:
        """Track a program again that had ended here: its client never got the answer, and sends the turn once more."""
        self._contexts[program_id] = context

    def find(self, program_id: str, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Return a program's context, or the one it would get if it came here now."""
        return self._contexts.get(program_id) or self._manager.seen_context(prefix_id, prefix_tokens)

    def __len__(self) -> int:
        return len(self._contexts)

    def __contains__(self, program_id: object) -> bool:
        return program_id in self._contexts

    def __getitem__(self, program_id: str) -> Context:
        return self._contexts[program_id]

    def close(self, program_id: str) -> None:
        """Stop tracking a program that ended here or moved elsewhere."""
        del self._contexts[program_id]

    # Pins -----------------------------------------------------------------------------------------------

    def pin(self, program: ProgramView, table: list[BlockRun], ttl_s: float, now_s: float) -> None:
        """Pin the blocks of a table, which a turn or an upload has held until now."""
        self._contexts[program.program_id].pinned = table
        self._pool.pin(table)
        self.pins.start(program, ttl_s, sum([len(run) for run in table]), now_s)

    def shrink_pin(self, program: ProgramView, kept_tokens: int, prompt_tokens: int, now_s: float) -> None:
        """Free the pinned blocks of a program, if it has any, that its next prompt cannot hit."""
        if program.pin is not None:
            blocks = self._manager.shrink(self._contexts[program.program_id], kept_tokens, prompt_tokens)
            if blocks < program.pin.blocks:
                self.pins.shrink(program, blocks, now_s)

    def unpin(self, program: ProgramView) -> None:
        """Free the blocks of a pin that ends."""
        self._pool.unpin(self._contexts[program.program_id].pinned)

    # Host memory ----------------------------------------------------------------------------------------

    def offload(self, program: ProgramView, now_s: float) -> None:
        """Copy a pinned context to host memory."""
        self._connector.offload(self._contexts[program.program_id], now_s)

    def recall(self, program: ProgramView, now_s: float) -> int | None:
        """Start bringing a context back; return its blocks, or None if there is no room."""
        return self._connector.recall(program, self._contexts[program.program_id], now_s)
