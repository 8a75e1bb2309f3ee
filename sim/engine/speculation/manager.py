"""Blocks of turns with drafts: slots for what the drafter writes, and only known tokens are found again."""

from __future__ import annotations

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.kv_cache_manager import KVCacheManager
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Context, Hits, Request
from continuum_sim.engine.speculation.turn import drafted


class SpeculativeKVCacheManager(KVCacheManager):
    """A turn holds the most blocks that any of its steps needed; vLLM takes none back when drafts are rejected."""

    def __init__(self, pool: BlockPool, config: EngineConfig) -> None:
        """Start empty; `config` has speculation."""
        super().__init__(pool, config.block_size, caches=config.enable_prefix_caching)
        speculation = config.drafting
        assert speculation is not None
        self._lookahead = speculation.num_lookahead_tokens
        self._max_model_len = config.max_model_len
        self._hashed_ahead = speculation.hash_lookahead_tokens(config.vllm_version)
        self._drops_last_hit = speculation.drops_last_hit(config.vllm_version)
        self._rows = 1 + speculation.num_speculative_tokens
        self.step_blocks = -(-(self._rows + self._lookahead) // config.block_size)
        # Without asynchronous scheduling 0.32 hashes tokens only when the step after them is scheduled.
        self._hashes_late = config.vllm_version == "0.32" and not config.async_scheduling

    # Contexts -------------------------------------------------------------------------------------------

    def open_context(self, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Return an empty context that begins with a shared prefix."""
        return super().open_context(prefix_id, self._alike(prefix_tokens))

    def seen_context(self, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Return the context that a program would get, without opening one."""
        return super().seen_context(prefix_id, self._alike(prefix_tokens))

    def keep_to(self, context: Context, kept_tokens: int) -> None:
        """Forget a program's own content beyond its first tokens."""
        super().keep_to(context, self._alike(kept_tokens))

    def cached_tokens(self, context: Context, most_tokens: int) -> int:
        """Return the tokens of the longest cached prefix of at most so many."""
        return self._less_dropped(context.find(most_tokens // self._block_size))[1]

    # Hits and room --------------------------------------------------------------------------------------

    def get_computed_blocks(self, request: Request) -> tuple[Hits, int]:
        """Return the longest cached prefix of a prompt and its tokens; the last token is always computed."""
        return self._less_dropped(request.context.find((request.num_tokens - 1) // self._block_size))

    def room_for(self, hits: Hits, whole_tokens: int, step_tokens: int, *, surely: bool = False) -> int:
        """Return the free blocks that a turn takes which is admitted with these hits."""
        return super().room_for(hits, max(whole_tokens, self._slots(step_tokens)), step_tokens, surely=surely)

    def room_for_loads(self, hits: Hits, tokens: int) -> int:
        """Return the free blocks that a turn takes with these hits and what it loads, so many tokens in all."""
        return super().room_for(hits, tokens, 0)

    def room_to_go_on(self, request: Request, whole_tokens: int, step_tokens: int) -> int:
        """Return the free blocks that a turn takes which has loaded some, for all its tokens or its next step."""
        blocks = self.blocks_of(max(whole_tokens, self._slots(step_tokens)))
        self.lasting_room = blocks - self.blocks_of(drafted(request).slots)
        return self.lasting_room

    def lacking(self, request: Request, computed_tokens: int, held_tokens: int) -> int:
        """Return the blocks that a turn lacks for all its tokens and a step that drafts."""
        whole = request.num_tokens + self._rows + self._lookahead
        return max(0, self.blocks_of(whole) - self.blocks_of(drafted(request).slots))

    def blocks_to_keep(self, request: Request, tokens: int) -> int:
        """Return how many blocks a pin of a turn that ends with so many computed tokens would hold."""
        return super().blocks_to_keep(request, self._hashed(request, tokens))

    def shrink(self, context: Context, kept_tokens: int, prompt_tokens: int) -> int:
        """Free the blocks of a pin that the next prompt cannot hit; return the blocks that it still holds."""
        return super().shrink(context, self._alike(kept_tokens), prompt_tokens)

    def growth(self, request: Request, start: int, tokens: int, in_flight_tokens: int) -> int:
        """Return how many blocks a running turn with `start` computed tokens needs for its next `tokens` tokens."""
        return max(0, self.blocks_of(self._slots(start + tokens)) - self.blocks_of(drafted(request).slots))

    # Taking and giving back -----------------------------------------------------------------------------

    def allocate(self, request: Request, hits: Hits, tokens: int) -> None:
        """Reference the hit blocks and allocate the rest of the blocks for so many tokens."""
        super().allocate(request, hits, self._slots(tokens))
        turn = drafted(request)
        turn.slots, turn.known_tokens = self._slots(tokens), request.num_tokens

    def allocate_for_loads(self, request: Request, hits: Hits, tokens: int) -> None:
        """Reference the hit blocks and allocate those that are loaded; the drafter's slots come later."""
        super().allocate(request, hits, tokens)
        turn = drafted(request)
        turn.slots, turn.known_tokens = tokens, request.num_tokens

    def go_on(self, request: Request, tokens: int, held_blocks: int) -> None:
        """Give a turn that has loaded some the blocks for so many more tokens."""
        turn, slots = drafted(request), self._slots(request.num_computed_tokens + tokens)
        self._pool.allocate(max(0, self.blocks_of(slots) - self.blocks_of(turn.slots)))
        turn.slots, turn.known_tokens = max(turn.slots, slots), request.num_tokens

    def extend(self, request: Request, tokens: int, blocks: int, in_flight_tokens: int = 0) -> None:
        """Give a turn `blocks` more blocks, so that it has those for so many tokens."""
        super().extend(request, tokens, blocks)
        turn = drafted(request)
        turn.slots = max(turn.slots, self._slots(tokens))
        turn.known_tokens = request.num_tokens - turn.coming_tokens

    def take_steps(self, batch: Batch, plan: Plan, steps: int) -> None:
        """Take the blocks of `steps` more steps like a planned one, before these are counted."""
        assert batch.drafts is not None
        self._pool.allocate(batch.drafts.take_steps(steps))

    def free(self, request: Request, tokens: int) -> None:
        """Free the blocks that a turn holds."""
        super().free(request, tokens)
        drafted(request).slots = 0

    def evict(self, request: Request, tokens: int) -> None:
        """Free them and forget what nothing else holds."""
        super().evict(request, tokens)
        drafted(request).slots = 0

    def blank_blocks(self, request: Request, tokens: int) -> int:
        """Return how many of the blocks that a turn holds have no content."""
        return super().blank_blocks(request, drafted(request).slots)

    # Content --------------------------------------------------------------------------------------------

    def cache(self, request: Request, tokens: int, *, leaves: bool = False) -> None:
        """Make full blocks findable, but no more than those whose tokens vLLM has hashed."""
        super().cache(request, self._hashed(request, tokens) if leaves else tokens, leaves=leaves)

    def _hashed(self, request: Request, computed_tokens: int) -> int:
        """Return the tokens of a turn that leaves whose full blocks have a hash."""
        turn = drafted(request)
        known = request.num_tokens - turn.coming_tokens
        hashed = turn.known_tokens if self._hashes_late else max(turn.known_tokens, known - 1)
        return max(0, min(computed_tokens, hashed, known - self._hashed_ahead))

    def _slots(self, tokens: int) -> int:
        return min(tokens + self._lookahead, self._max_model_len)

    def _alike(self, tokens: int) -> int:
        """Return the tokens whose full blocks are equal where so many tokens are."""
        return max(0, tokens - self._hashed_ahead)

    def _less_dropped(self, hits: Hits) -> tuple[Hits, int]:
        """Return hits, without the last block if it is computed again, and their tokens."""
        if hits and self._drops_last_hit:
            run, start, stop = hits[-1]
            hits = [*hits[:-1], (run, start, stop - 1)] if stop - start > 1 else hits[:-1]
        return hits, hits[-1][2] * self._block_size if hits else 0
