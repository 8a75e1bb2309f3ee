"""The blocks that turns hold: prefix hits, allocation, and when blocks can be hit (vLLM's `KVCacheManager`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.block_pool import BlockPool
from continuum_sim.engine.chain import BlockRun, Chain
from continuum_sim.engine.groups.due import DueTurns
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Context, Hits, Request


class KVCacheManager:
    """Allocates blocks to turns. A turn's table lists its blocks with content; its other blocks are blank.

    All layers keep all tokens; `groups/manager.py` is for models whose layers differ in that.
    """

    grouped: ClassVar[bool] = False
    """Whether there are several KV cache groups, or blocks that are freed while a turn runs."""
    cuts_prompts: bool = False
    """Whether steps must end at certain tokens of a prompt, so that states of recurrent layers can be found again."""
    step_blocks: int = 0
    """Blocks that a step of a decoding turn may fill with drafts (`_spec_decode_step_blocks`)."""
    most_freed_by_sliding: int = 0
    """Most blocks by which what a decoding turn holds may shrink, however many steps it decodes."""

    def __init__(self, pool: BlockPool, block_size: int, *, caches: bool = True) -> None:
        """Start empty; unless it `caches`, no block is ever found again."""
        self.peak_used_blocks = 0
        """Most blocks in use when any step was planned."""
        self.freed_blocks = 0
        """Blocks that running turns have freed behind their windows."""
        self.copied_states = 0
        """States of recurrent layers that were copied to another block, so that what was there can be found again."""
        self.lasting_room = 0
        """Of the latest answer of `room_for`: blocks that are needed even if some of the hits are evicted."""
        self.due: DueTurns | None = None
        """The decoding turns by the steps in which they take or free blocks, if windows free any."""
        self._pool = pool
        self._block_size = block_size
        self._caches = caches
        self._shared: dict[str, Chain] = {}

    def blocks_of(self, tokens: int) -> int:
        """Return how many blocks `tokens` tokens take."""
        return -(-tokens // self._block_size)

    def note_peak(self) -> None:
        """Update the peak after a step was planned."""
        used = self._pool.num_blocks - self._pool.free
        if used > self.peak_used_blocks:
            self.peak_used_blocks = used

    # Contexts -------------------------------------------------------------------------------------------

    def open_context(self, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Return an empty context that begins with a shared prefix."""
        shared = None if prefix_id is None else self._shared.setdefault(prefix_id, Chain())
        return Context(shared, prefix_tokens // self._block_size)

    def seen_context(self, prefix_id: str | None, prefix_tokens: int) -> Context:
        """Return the context that a program would get, without opening one."""
        shared = self._shared.get(prefix_id) if prefix_id else None
        return Context(shared, prefix_tokens // self._block_size)

    def keep_to(self, context: Context, kept_tokens: int) -> None:
        """Forget a program's own content beyond its first tokens."""
        kept_blocks = kept_tokens // self._block_size
        self._pool.abandon(context.own, kept_blocks)
        context.shared_blocks = min(context.shared_blocks, kept_blocks)

    def cached_tokens(self, context: Context, most_tokens: int) -> int:
        """Return the tokens of the longest cached prefix of at most so many."""
        hits = context.find(most_tokens // self._block_size)
        return hits[-1][2] * self._block_size if hits else 0

    # Hits and room --------------------------------------------------------------------------------------

    def get_computed_blocks(self, request: Request) -> tuple[Hits, int]:
        """Return the longest cached prefix of a prompt and its tokens; the last token is always computed."""
        hits = request.context.find((request.num_tokens - 1) // self._block_size)
        return hits, hits[-1][2] * self._block_size if hits else 0

    def room_for(self, hits: Hits, whole_tokens: int, step_tokens: int, *, surely: bool = False) -> int:
        """Return the free blocks that a turn takes which is admitted with these hits, for `whole_tokens` tokens.

        It need not allocate the blocks it hits, but those without references still count as free. `step_tokens`, those
        after its first step, are no more, and the blocks are `surely` as many.
        """
        held = 0
        for run, start, stop in hits:
            if run.refs:
                held += stop - start
        self.lasting_room = -(-whole_tokens // self._block_size) - held
        return self.lasting_room

    def found_again(self, hits: Hits) -> Hits:
        """Return the hits, just looked up, once more, after a broken pin's blocks have been freed."""
        return hits

    def with_loaded(self, hits: Hits, tokens: int) -> Hits:
        """Return the hits, just looked up, of a turn that loads what follows them, up to so many tokens."""
        return hits

    def room_for_loads(self, hits: Hits, tokens: int) -> int:
        """Return the free blocks that a turn takes with these hits and what it loads, so many tokens in all."""
        return self.room_for(hits, tokens, 0)

    def room_to_go_on(self, request: Request, whole_tokens: int, step_tokens: int) -> int:
        """Return the free blocks that a turn takes which has loaded some, for `whole_tokens` tokens.

        `step_tokens`, those after its next step, are no more.
        """
        self.lasting_room = self.blocks_of(whole_tokens) - request.reload_blocks[1]
        return self.lasting_room

    def lacking(self, request: Request, computed_tokens: int, held_tokens: int) -> int:
        """Return the blocks that a turn lacks for all its tokens, if it holds those for so many."""
        return self.blocks_of(request.num_tokens) - self.blocks_of(held_tokens)

    def growth(self, request: Request, start: int, tokens: int, in_flight_tokens: int) -> int:
        """Return how many blocks a running turn with `start` computed tokens needs for its next `tokens` tokens.

        Of those `start` tokens the last `in_flight_tokens` are those of a step that is not over.
        """
        return -(-(start + tokens) // self._block_size) + (-start // self._block_size)

    def new_step_starts(self) -> None:
        """Note that a step is being planned."""

    def cut_prompt(self, request: Request, start: int, tokens: int) -> int:
        """Return how many of the next `tokens` tokens of a prompt a step may compute."""
        return tokens

    def must_wait(self, request: Request) -> bool:
        """Return whether a turn hits, as just looked up, what only the step being planned will compute."""
        return False

    def junction_tokens(self, request: Request) -> int:
        """Return the tokens of a turn in the batch that some group had cached, if another had fewer; otherwise 0."""
        return 0

    # Taking and giving back -----------------------------------------------------------------------------

    def allocate(self, request: Request, hits: Hits, tokens: int) -> None:
        """Reference the hit blocks and allocate the rest of the blocks for so many tokens."""
        for run, start, stop in reversed(hits):
            self._pool.touch(run, start, stop, request.table)
        cached_blocks = hits[-1][2] if hits else 0
        self._pool.allocate(-(-tokens // self._block_size) - cached_blocks)
        if request.scheduled_s < 0:
            request.cached_tokens = cached_blocks * self._block_size

    def go_on(self, request: Request, tokens: int, held_blocks: int) -> None:
        """Give a turn whose blocks have been loaded those for so many more tokens, or take what is too many."""
        blocks = self.blocks_of(request.num_computed_tokens + tokens)
        if blocks < held_blocks:
            self._pool.release([], held_blocks - blocks)
        else:
            self._pool.allocate(blocks - held_blocks)

    def extend(self, request: Request, tokens: int, blocks: int, in_flight_tokens: int = 0) -> None:
        """Give a turn `blocks` more blocks, so that it has those for so many tokens."""
        self._pool.allocate(blocks)

    def take_step(self, batch: Batch, chunks: Sequence[tuple[Request, int]], ahead: Plan | None) -> bool:
        """Take the blocks of a step in which every decoding turn gets a token, and some prompts a chunk.

        Returns False if not all of them are free.

        Parameters
        ----------
        ahead
            The step planned before and not over, if any.
        """
        blocks = batch.decoding.blocks_of_next_step()
        for request, tokens in chunks:
            blocks += self.growth(request, request.num_computed_tokens, tokens, 0)
        if blocks > self._pool.free:
            return False
        if blocks:
            self._pool.allocate(blocks)
        return True

    def one_by_one(self) -> None:
        """Note that a step is planned turn by turn."""

    def blocks_of_steps(self, batch: Batch, plan: Plan, steps: int) -> int:
        """Return the blocks that `steps` more steps like a planned one take at most."""
        return batch.growth_blocks(plan, steps)

    def take_steps(self, batch: Batch, plan: Plan, steps: int) -> None:
        """Take them, before the steps are counted."""
        self._pool.allocate(batch.growth_blocks(plan, steps))

    def free(self, request: Request, tokens: int) -> None:
        """Free the blocks that a turn holds for so many tokens."""
        self._pool.release(request.table, self.blank_blocks(request, tokens))

    def slide(self, request: Request, over: int) -> None:
        """Free the blocks behind a turn's windows once so many tokens have been computed."""

    def allocate_for_loads(self, request: Request, hits: Hits, tokens: int) -> None:
        """Reference the hit blocks and allocate those that are loaded, for so many tokens in all."""
        self.allocate(request, hits, tokens)

    def detach(self, request: Request, tokens: int) -> tuple[list[list[BlockRun]], int]:
        """Take a turn's blocks from it, to be freed later: tables in the order of freeing, and the blank ones."""
        table, blank = request.table, self.blank_blocks(request, tokens)
        request.table = []
        return [table], blank

    def keep_and_detach(self, request: Request, tokens: int) -> tuple[list[BlockRun], list[list[BlockRun]], int]:
        """Like `keep`, but let all blocks stay referenced until what is returned beside those for a pin is freed."""
        held: list[BlockRun] = []
        self._pool.merge(request.table)
        for run in reversed(request.table):
            self._pool.touch(run, run.start, run.stop, held)
        return request.table, [held], self.blank_blocks(request, tokens)

    def evict(self, request: Request, tokens: int) -> None:
        """Free them and forget what nothing else holds."""
        self._pool.evict(request.table, self.blank_blocks(request, tokens))

    def blank_blocks(self, request: Request, tokens: int) -> int:
        """Return how many of the blocks that a turn holds for `tokens` tokens have no content."""
        return self.blocks_of(tokens) - (request.table[-1].stop if request.table else 0)

    # Content --------------------------------------------------------------------------------------------

    def cache(self, request: Request, tokens: int, *, leaves: bool = False) -> None:
        """Make full blocks findable: those of a shared prefix, as others may hit them as soon as they are scheduled.

        For the turn's own blocks only its program looks, so it is enough to do this when the turn `leaves` the batch.
        """
        context = request.context
        if not self._caches or not (leaves or context.shared is not None):
            return
        done, full = request.table[-1].stop if request.table else 0, tokens // self._block_size
        if context.shared is not None:
            shared = min(full, context.shared_blocks)
            if shared > done:
                self._pool.cache(context.shared, done, shared, request.table)
                done = shared
        if leaves and full > done:
            self._pool.cache(context.own, done, full, request.table)

    # Pins -----------------------------------------------------------------------------------------------

    def blocks_to_keep(self, request: Request, tokens: int) -> int:
        """Return how many blocks a pin of a turn that ends with so many computed tokens would hold."""
        return tokens // self._block_size

    def keep(self, request: Request, tokens: int) -> list[BlockRun]:
        """Free a turn's blank blocks; return those with content, still referenced, for a pin."""
        table = request.table
        self._pool.merge(table)
        self._pool.release([], self.blank_blocks(request, tokens))
        return table

    def shrink(self, context: Context, kept_tokens: int, prompt_tokens: int) -> int:
        """Free the blocks of a pin that the program's next prompt cannot hit; return the blocks that it still holds.

        It keeps the first `kept_tokens` of the context, and its last token is always computed.
        """
        self._pool.unpin(context.pinned, min(kept_tokens, prompt_tokens - 1) // self._block_size)
        return context.pinned[-1].stop if context.pinned else 0
