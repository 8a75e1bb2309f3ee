"""Blocks of turns with drafts in several KV cache groups: slots for the drafter, and only known tokens are found."""

from __future__ import annotations

from continuum_sim.engine.chain import BlockRun
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.manager import GroupedKVCacheManager
from continuum_sim.engine.groups.pool import GroupedBlockPool
from continuum_sim.engine.request import Hits, Request
from continuum_sim.engine.speculation.turn import drafted


class SpeculativeGroupManager(GroupedKVCacheManager):
    """Windows slide behind what is surely computed; blocks of rejected drafts stay a turn's own."""

    def __init__(self, pool: GroupedBlockPool, config: EngineConfig) -> None:
        """Start empty; `config` has speculation."""
        super().__init__(pool, config)
        speculation = config.drafting
        assert speculation is not None
        self._lookahead = speculation.num_lookahead_tokens
        self._max_model_len = config.max_model_len
        rows = 1 + speculation.num_speculative_tokens + self._lookahead
        self.step_blocks = sum([-(-rows // spec.block_size) for spec in self.specs])
        self._rows = rows
        # Without asynchronous scheduling 0.32 hashes tokens only when the step after them is scheduled.
        self._hashes_late = config.vllm_version == "0.32" and not config.async_scheduling

    def room_for(self, hits: Hits, whole_tokens: int, step_tokens: int, *, surely: bool = False) -> int:
        """Return the free blocks that admission takes, the first step's with the drafter's slots."""
        step = self._slots(step_tokens) if step_tokens else 0
        return super().room_for(hits, whole_tokens, step, surely=surely)

    def room_for_loads(self, hits: Hits, tokens: int) -> int:
        """Return the free blocks that a turn takes with these hits and what it loads, so many tokens in all."""
        return super().room_for(hits, tokens, tokens)

    def room_to_go_on(self, request: Request, whole_tokens: int, step_tokens: int) -> int:
        """Return the free blocks that a turn takes which has loaded some: for all of it, or for its next step."""
        return super().room_to_go_on(request, whole_tokens, self._slots(step_tokens))

    def lacking(self, request: Request, computed_tokens: int, held_tokens: int) -> int:
        """Return the blocks that a turn lacks for all its tokens and a step that drafts."""
        return self._lacking(request, computed_tokens, request.num_tokens + self._rows)

    def growth(self, request: Request, start: int, tokens: int, in_flight_tokens: int) -> int:
        """Free the blocks behind a running turn's windows; return how many it needs for its next `tokens` tokens."""
        return super().growth(request, start, self._slots(start + tokens) - start, in_flight_tokens)

    def allocate(self, request: Request, hits: Hits, tokens: int) -> None:
        """Reference the hit blocks of all groups, then allocate the rest of the blocks for so many tokens."""
        drafted(request).known_tokens = request.num_tokens
        super().allocate(request, hits, self._slots(tokens))

    def allocate_for_loads(self, request: Request, hits: Hits, tokens: int) -> None:
        """Reference the hit blocks and allocate those that are loaded; the drafter's slots come later."""
        drafted(request).known_tokens = request.num_tokens
        super().allocate(request, hits, tokens)

    def extend(self, request: Request, tokens: int, blocks: int, in_flight_tokens: int = 0) -> None:
        """Give a turn `blocks` more blocks, so that it has those for so many tokens in every group."""
        if blocks:
            self.pool.allocate(blocks)
            for table in self.tables[request]:
                table.extend(self._slots(tokens))
        turn = drafted(request)
        turn.known_tokens = request.num_tokens - turn.coming_tokens
        if self._lags and request.decoding:
            self.cache(request, min(tokens, turn.known_tokens))

    def blocks_to_keep(self, request: Request, tokens: int) -> int:
        """Return how many blocks a pin of a turn that ends would hold: those that the next turn can hit."""
        return super().blocks_to_keep(request, self._hashed(request, tokens))

    def keep(self, request: Request, tokens: int) -> list[BlockRun]:
        """Free a turn's blocks but for those of the next turn's hit; return these, still referenced."""
        return super().keep(request, self._hashed(request, tokens))

    def cache(self, request: Request, tokens: int, *, leaves: bool = False) -> None:
        """Make full blocks findable, but no more than those whose tokens vLLM has hashed.

        Accepted drafts may move a window past a block that was not full when the turn was last scheduled.
        """
        known = self._hashed(request, tokens) if leaves else min(tokens, drafted(request).known_tokens)
        super().cache(request, known, leaves=leaves)

    def _hashed(self, request: Request, computed_tokens: int) -> int:
        """Return the tokens of a turn that leaves whose full blocks have a hash."""
        turn = drafted(request)
        known = request.num_tokens - turn.coming_tokens
        hashed = turn.known_tokens if self._hashes_late else max(turn.known_tokens, known - 1)
        return max(0, min(computed_tokens, hashed))

    def _slots(self, tokens: int) -> int:
        return min(tokens + self._lookahead, self._max_model_len)
