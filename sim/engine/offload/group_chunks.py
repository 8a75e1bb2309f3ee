"""Which chunks of a KV cache group vLLM's native offload looks up, loads and stores (`GroupOffloadConfig`)."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from continuum_sim.engine.groups.spec import GroupSpec
from continuum_sim.engine.offload.contents import Key
from continuum_sim.engine.offload.keyed_cache import KeyedCache


class GroupChunks:
    """The chunks of one group."""

    def __init__(
        self, spec: GroupSpec, blocks_per_chunk: int, alignment_tokens: int | None, interval: int | None
    ) -> None:
        """Note the rules of a group.

        Parameters
        ----------
        alignment_tokens
            What loads are a multiple of; None if groups that keep all tokens differ in that.
        interval
            `prefix_cache_retention_interval`.
        """
        self.spec = spec
        self.chunk_tokens = spec.block_size * blocks_per_chunk
        self._blocks = blocks_per_chunk
        self._alignment = alignment_tokens
        self._interval = interval
        tokens = 1 if spec.kind == "recurrent" else spec.window
        self.window_chunks = -(-tokens // self.chunk_tokens)
        """Chunks of a window, in a row, that a load needs; 0 if it needs all (`get_sliding_window_size_in_chunks`)."""

    @property
    def slides(self) -> bool:
        """Whether it keeps less than all tokens."""
        return self.spec.frees

    # Loads ----------------------------------------------------------------------------------------------

    def window_at(self, tokens: int) -> int:
        """Return how many chunks a load up to so many tokens needs (`load_window_size_in_chunks`)."""
        if self.spec.kind != "sliding":
            return self.window_chunks
        reach = self.spec.window - 1 + -tokens % self.chunk_tokens
        return max(self.window_chunks, -(-reach // self.chunk_tokens))

    def to_load(self, keys: Sequence[Key], computed_tokens: int, tokens: int) -> Sequence[Key]:
        """Return the chunks that a load of so many tokens after those computed may touch."""
        stop = -(-(computed_tokens + tokens) // self.chunk_tokens)
        found = keys[computed_tokens // self.chunk_tokens : stop]
        return found[-self.window_at(computed_tokens + tokens) :] if self.slides else found

    def blocks_to_load(self, computed_tokens: int, stop_tokens: int) -> tuple[int, int]:
        """Return the blocks [start, stop) that such a load fills."""
        size = self.spec.block_size
        stop = -(-stop_tokens // size)
        return min(stop, max(-(-computed_tokens // size), self.spec.skipped_blocks(stop_tokens))), stop

    def find_prefix(self, cache: KeyedCache, keys: Sequence[Key]) -> int | None:
        """Return how many chunks are there without a gap; None if some are still being stored."""
        hits, pending = 0, False
        for key in keys:
            chunk = cache.get(key)
            if chunk is None:
                break
            pending = pending or chunk.refs < 0
            hits += 1
        return None if pending else hits

    def find_window(self, cache: KeyedCache, keys: Sequence[Key], first_window: int) -> int | None:
        """Return the end of the last window that is there, 0 for none; None if some of it is still being stored.

        Parameters
        ----------
        first_window
            Chunks that it needs if it ends with the last of `keys`.
        """
        hits, pending, window = 0, False, first_window
        for at in range(len(keys) - 1, -1, -1):
            chunk = cache.get(keys[at])
            if chunk is None:
                hits, pending, window = 0, False, self.window_chunks
            else:
                pending = pending or chunk.refs < 0
                hits += 1
            if hits == window:
                return None if pending else at + window
        return None if pending else hits

    # Stores ---------------------------------------------------------------------------------------------

    def to_store(
        self,
        start: int,
        stop: int,
        prompt_stop: int,
        opened: int,
        boundaries: Sequence[int],
        *,
        gone: Collection[int],
        ended: bool,
        whole: bool,
    ) -> list[tuple[int, int]]:
        """Return which of the chunks [start, stop) are worth storing, each with the blocks that there are of it.

        Parameters
        ----------
        prompt_stop
            Chunks that the prompt fills.
        opened
            First block that the turn has held.
        boundaries
            Tokens after which a later prompt may leave this one.
        gone
            Blocks that it has freed since, and others have taken.
        ended
            Whether the turn has ended.
        whole
            Whether to leave out chunks of which a block is gone that can be hit.
        """
        if self.spec.kind == "recurrent":
            return []
        tail = stop if ended else prompt_stop if stop <= prompt_stop else None
        again = ended and stop != prompt_stop and self._tail_blocks > 0
        known = start
        if again:
            blocks = stop * self._blocks
            start = min(start, (blocks - blocks % self._tail_blocks) // self._blocks)
        size = self._blocks
        start = max(start, opened // size)
        if start >= stop:
            return []
        hit = self._reachable(start * size, stop * size, boundaries, tail)
        hit_before = self._reachable(start * size, stop * size, boundaries, prompt_stop) if again else hit
        chunks: list[tuple[int, int]] = []
        for chunk in range(start, stop):
            first = chunk * size
            at, end = first - start * size, first + size
            if opened >= end or end - 1 in gone or not any(hit[at : at + size]):
                continue
            if again and chunk < known and any(hit_before[at : at + size]):
                continue  # it was offered while the prompt was computed
            lost = [block for block in range(first, end) if block < opened or block in gone]
            if whole and any(hit[block - start * size] for block in lost):
                continue
            chunks.append((chunk, size - len(lost)))
        return chunks

    @property
    def _tail_blocks(self) -> int:
        """Blocks of a segment whose last one a turn's end may make worth storing; 0 if it makes none so."""
        if self.spec.kind != "sliding" or self._interval is not None or self._alignment is None:
            return 0
        return 0 if self._alignment % self.spec.block_size else self._alignment // self.spec.block_size

    def _reachable(self, start: int, stop: int, boundaries: Sequence[int], tail_chunk: int | None) -> list[bool]:
        """Return which of the blocks [start, stop) can be loaded (`reachable_block_mask`).

        Parameters
        ----------
        tail_chunk
            End of the last segment of what is stored, of which the window is kept too, if all windows are.
        """
        if self._alignment is None or self.spec.kind != "sliding":
            return [True] * (stop - start)
        mask = [False] * (stop - start)
        spans = self.spec.findable(start, stop, boundaries, self._alignment, self._interval)
        if tail_chunk is not None and self._tail_blocks:
            end = tail_chunk * self._blocks
            begin = max(end - end % self._tail_blocks, end - self.spec.blocks_for_hit)
            spans = [*spans, (max(start, begin), min(stop, end))]
        for first, last in spans:
            for block in range(first, last):
                mask[block - start] = True
        return mask


def make_chunks(specs: Sequence[GroupSpec], blocks_per_chunk: int, interval: int | None) -> list[GroupChunks]:
    """Return the chunks of every group (`SchedulerOffloadConfig.from_spec`)."""
    full = {spec.block_size * blocks_per_chunk for spec in specs if not spec.frees}
    if full:
        alignment = full.pop() if len(full) == 1 else None
    else:
        alignment = max(spec.block_size for spec in specs) * blocks_per_chunk
    return [GroupChunks(spec, blocks_per_chunk, alignment, interval) for spec in specs]


def hit_of(
    groups: Sequence[GroupChunks],
    cache: KeyedCache,
    keys: Sequence[Sequence[Key]],
    num_tokens: int,
    computed_tokens: int,
) -> int | None:
    """Return how many tokens after those computed can be loaded; None if some are still being stored.

    Mirrors `_lookup_complete_chunks`: each group may shorten what the ones before it have found, until all agree.
    """
    full = [number for number, group in enumerate(groups) if not group.slides]
    sliding = [number for number, group in enumerate(groups) if group.slides]
    sliding.sort(key=lambda number: -groups[number].window_chunks)
    most = num_tokens
    if sliding:
        most -= 1  # the last token is computed, and windows must reach back from there
    for group in groups:
        if group.spec.kind == "recurrent":
            most = most // group.chunk_tokens * group.chunk_tokens
    everything = [*full, *sliding]
    hit, pending, numbers = 0, False, everything
    while numbers:
        again: list[int] = []
        slid = False
        for number in numbers:
            group, size = groups[number], groups[number].chunk_tokens
            most = min(most, len(keys[number]) * size)
            if most - computed_tokens < size:
                return 0
            start, stop = computed_tokens // size, min(-(-most // size), len(keys[number]))
            sought = keys[number][start:stop]
            if group.slides:
                chunks = group.find_window(cache, sought, group.window_at(min(most, stop * size)))
            else:
                chunks = group.find_prefix(cache, sought)
            if chunks == 0:
                return 0
            if chunks is None:
                pending = True
            else:
                most = min(most, size * (start + chunks))
            tokens = most - computed_tokens
            if tokens < size:
                return 0
            if tokens < hit:
                if pending:
                    pending, again = False, everything
                elif slid and not again:
                    again = sliding
            slid = slid or group.slides
            hit = tokens
        numbers = again
    return None if pending else hit
