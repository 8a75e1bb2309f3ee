"""Blocks of turns with drafts in several KV cache groups: slots for the drafter, and only known tokens are found.

Of drafts from hidden states (EAGLE, MTP) a block's last position depends on the token after it. Either the last block
that is found is computed again, of all groups or of those like the drafter's (`drop_eagle_block`), or its hash covers
that token (0.33, `num_hash_lookahead_tokens`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from continuum_sim.engine.chain import BlockRun
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.lookup import Content
from continuum_sim.engine.groups.manager import GroupedKVCacheManager
from continuum_sim.engine.groups.pool import GroupedBlockPool
from continuum_sim.engine.groups.spec import last_reusable
from continuum_sim.engine.groups.table import BandTable
from continuum_sim.engine.request import Context, Hits, Request
from continuum_sim.engine.speculation.bands import DraftedBand, DraftedStates
from continuum_sim.engine.speculation.turn import drafted


class SpeculativeGroupManager(GroupedKVCacheManager):
    """Windows slide behind what is surely computed; blocks of rejected drafts stay a turn's own."""

    def __init__(self, pool: GroupedBlockPool, config: EngineConfig) -> None:
        """Start empty; `config` has speculation."""
        super().__init__(pool, config)
        speculation = config.drafting
        assert speculation is not None
        rows = 1 + speculation.num_speculative_tokens + speculation.num_lookahead_tokens
        self.step_blocks = sum([-(-rows // spec.block_size) for spec in self.specs])
        self._hashed_ahead = speculation.hash_lookahead_tokens(config.vllm_version)
        self._hash_size = math.gcd(*(spec.block_size for spec in self.specs))
        self._drops = self._caches and speculation.drops_last_hit(config.vllm_version)
        drafter = config.drafter_group
        self.bands = [
            DraftedBand(
                band,
                drafts=speculation.num_speculative_tokens,
                lookahead_tokens=speculation.num_lookahead_tokens,
                max_model_len=config.max_model_len,
                drops=self._drops and (drafter is None or band.spec == self.specs[drafter]),
                steps_back=self._drops,
            )
            for band in self.bands
        ]
        self._keeps_below_junction = config.vllm_version != "0.32"
        # Without asynchronous scheduling 0.32 hashes tokens only when the step after them is scheduled.
        self._hashes_late = config.vllm_version == "0.32" and not config.async_scheduling
        if self._drops and drafter is not None:  # a window past the end of a prompt can be found again, too
            self._lags = True
        self._defers_again = self._defers_again and not (self._drops and drafter is None)  # then nothing is aligned
        self._peeks = False
        """Whether a look-up also takes the block that is computed again, so that a pin holds it."""

    # Taking blocks --------------------------------------------------------------------------------------

    def allocate(self, request: Request, hits: Hits, tokens: int) -> None:
        """Reference the hit blocks of all groups, then allocate the rest of the blocks for so many tokens."""
        drafted(request).known_tokens = request.num_tokens
        super().allocate(request, hits, tokens)

    def _known(self, request: Request, tokens: int, in_flight_tokens: int) -> int:
        """Return of how many tokens a turn's blocks can be found, and note how many it knows as it is scheduled."""
        turn = drafted(request)
        turn.known_tokens = request.num_tokens - turn.coming_tokens
        return min(tokens, turn.known_tokens)

    def _end_of_prompt(self, request: Request) -> int:
        """Return the tokens of a prompt after which its last state is kept."""
        return last_reusable(request.prompt_tokens, self._alignment, steps_back=self._drops)

    # Contexts and hits ----------------------------------------------------------------------------------

    def open_context(self, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Return an empty context that begins with a shared prefix."""
        return super().open_context(prefix_id, self._hashed_alike(prefix_tokens))

    def seen_context(self, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Return the context that a program would get, without opening one."""
        return super().seen_context(prefix_id, self._hashed_alike(prefix_tokens))

    def keep_to(self, context: Context, kept_tokens: int) -> None:
        """Forget a program's own content beyond its first tokens."""
        super().keep_to(context, self._hashed_alike(kept_tokens))

    def _longest_hit(self, contents: Sequence[Content], most_tokens: int) -> tuple[list[tuple[int, int]], int, int]:
        """Return what the longest hit takes; each group's last block is dropped once for each length that is tried."""
        if not self._drops:
            return super()._longest_hit(contents, most_tokens)
        spans: list[tuple[int, int]] = [(0, 0)] * len(self.bands)
        alone = len(self.specs) == 1  # then no block more is looked for than may be hit
        hashed = most_tokens if alone else (most_tokens + 1) // self._hash_size * self._hash_size
        agreed, longest = most_tokens, 0
        verified: set[int] = set()
        while True:
            tokens = agreed
            for number, alike in enumerate(self._alike):
                size, known = alike.spec.block_size, spans[alike.members[0]][1]
                if alike.spec.kind == "full" and known:  # what is shorter is cached too
                    tokens = min(tokens, known * size)
                    continue
                if self.bands[alike.members[0]].drops and number not in verified:
                    found = alike.hit_but_last(contents, tokens, hashed)
                    verified.add(number)
                else:
                    found = alike.hit(contents, tokens)
                    if found[1] * size < tokens:
                        verified.clear()
                tokens = found[1] * size
                for member in alike.members:
                    spans[member] = found
                longest = max(longest, tokens)
            done = tokens >= agreed or self._once or alone
            agreed = min(agreed, tokens)
            if done:
                return self._needed(spans, agreed), agreed, longest

    def _needed(self, spans: list[tuple[int, int]], tokens: int) -> list[tuple[int, int]]:
        """Return what a hit of so many tokens takes of what each band's groups have."""
        needed = super()._needed(spans, tokens)
        if self._peeks and tokens:
            for number, band in enumerate(self.bands):
                needed[number] = needed[number][0], needed[number][1] + (band.drops and band.spec.kind != "recurrent")
        return needed

    # Pins -----------------------------------------------------------------------------------------------

    def blocks_to_keep(self, request: Request, tokens: int) -> int:
        """Return how many blocks a pin of a turn that ends would hold: those that the next turn can hit."""
        self._peeks = self._drops
        blocks = super().blocks_to_keep(request, self._hashed(request, tokens))
        self._peeks = False
        return blocks

    def keep(self, request: Request, tokens: int) -> list[BlockRun]:
        """Free a turn's blocks but for those of the next turn's hit; return these, still referenced."""
        return super().keep(request, self._hashed(request, tokens))

    def _hold(self, context: Context, tokens: int) -> list[BlockRun]:
        self._peeks = self._drops
        held = super()._hold(context, tokens)
        self._peeks = False
        return held

    # Content --------------------------------------------------------------------------------------------

    def cache(self, request: Request, tokens: int, *, leaves: bool = False) -> None:
        """Make full blocks findable, but no more than those whose tokens vLLM has hashed.

        Accepted drafts may move a window past a block that was not full when the turn was last scheduled.
        """
        turn = drafted(request)
        if leaves:
            known = self._hashed(request, tokens)
        elif not self._hashes_late:
            known = min(tokens, request.num_tokens - turn.coming_tokens)
        else:
            known = min(tokens, turn.known_tokens)
        if self._drops or self._hashed_ahead:
            self._cache_for_drafter(request, known, leaves=leaves)
        else:
            super().cache(request, known, leaves=leaves)

    def _cache_for_drafter(self, request: Request, tokens: int, *, leaves: bool) -> None:
        """Make full blocks findable, with those that a hit only looks at (`get_num_cacheable_tokens`)."""
        tables = self.tables.get(request)
        if tables is None or not self._caches:
            return
        turn, alignment = drafted(request), self._alignment
        known = request.num_tokens - turn.coming_tokens if leaves or not self._hashes_late else turn.known_tokens
        aligned = tokens // alignment * alignment
        for table, content in zip(tables, self._contents(request.context), strict=True):
            band, spec = table.band, table.band.spec
            size = spec.block_size
            boundaries = self._reusable(request, size if band.drops else 0)
            if isinstance(table, DraftedStates) and table.saved >= 0:
                boundaries = self._without_transient(request, table, boundaries)
            peek = size if band.drops and spec.kind != "recurrent" else 0
            cacheable = min(tokens, aligned + peek) if aligned else 0
            if spec.reach and self._sparse:
                cacheable = min(cacheable, max(boundaries) // alignment * alignment + peek)
            full = min(cacheable, known - self._hashed_ahead) // size
            if not spec.frees and not leaves:
                full = min(full, content.shared_blocks)
            if full > table.cached:
                self._cache_band(request, table, content, full, boundaries)
            if leaves and band.drops and not spec.frees:
                self._hash_end_of_prompt(request, table, min(cacheable, known))

    def _without_transient(self, request: Request, table: DraftedStates, boundaries: list[int]) -> list[int]:
        """Leave out where a step saves a state that vLLM forgets: all but the last one's and those where prompts part.

        Mirrors `MambaManager._cache_partial_tail_block`.
        """
        size = table.band.spec.block_size
        saved = (table.saved + 1) * size
        if saved in (self._end_of_prompt(request), self._junctions[request]):
            return boundaries
        return [boundary for boundary in boundaries if boundary // size * size != saved]

    def _hash_end_of_prompt(self, request: Request, table: BandTable, tokens: int) -> None:
        """Give the block in which a prompt ends a content that nobody finds, if it is not full.

        vLLM hashes it up to the last smaller block of another group (`_cache_partial_tail_block`).
        """
        end = request.prompt_tokens // self._hash_size * self._hash_size
        block = end // table.band.spec.block_size
        if end <= tokens and end % table.band.spec.block_size and table.run_at(block) is None:
            self.pool.cache(table.band.open_chain(), block, block + 1, table.runs)

    def _reusable(self, request: Request, dropped_tokens: int) -> list[int]:
        """Return the tokens after which a later prompt may leave this one (`replay_boundaries`).

        Parameters
        ----------
        dropped_tokens
            Those of a block that a hit of the group drops, if it does.
        """
        prompt, alignment = request.prompt_tokens, self._alignment
        if self._drops:
            ends = [max(0, end // alignment - 1) * alignment for end in (prompt - 1, prompt)]
        else:
            ends = [prompt - 1]
        junction = self._junctions[request]
        if junction:
            ends.append(junction)
            if dropped_tokens and self._keeps_below_junction:
                ends.append(junction - dropped_tokens)
        return sorted(set(ends))

    def _hashed(self, request: Request, computed_tokens: int) -> int:
        """Return the tokens of a turn that leaves whose full blocks have a hash."""
        turn = drafted(request)
        known = request.num_tokens - turn.coming_tokens
        hashed = turn.known_tokens if self._hashes_late else max(turn.known_tokens, known - 1)
        return max(0, min(computed_tokens, hashed))

    def _hashed_alike(self, tokens: int) -> int:
        """Return the tokens whose full blocks are equal where so many tokens are."""
        return max(0, tokens - self._hashed_ahead)
