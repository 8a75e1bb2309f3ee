"""Pins by block references: what keeps a paused program's KV blocks from being evicted in vLLM."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from continuum_sim.policies.host.pins import PinLedger
from continuum_sim.policies.views import ProgramView


class _GroupPin(NamedTuple):
    """Pinned blocks of one KV cache group, front first, with the index of each in the block table."""

    places: list[int]
    blocks: list[Any]


class PinnedBlocks:
    """An extra reference to each full block of every pinned program, taken before vLLM drops its own.

    A referenced block is not in the free queue, so nothing evicts it; and because it stays hashed, the program's next
    turn finds it by an ordinary prefix lookup. A pin is entered in the ledger as its blocks are held here; when it ends
    there, the host calls `release`.
    """

    def __init__(
        self,
        kv_cache_manager: Any,
        requests: Mapping[str, Any],
        hash_block_size: int,
        ledger: PinLedger,
        *,
        ahead: bool = False,
        lookahead_tokens: int = 0,
        max_model_len: int = 0,
    ) -> None:
        from vllm.v1.core.kv_cache_utils import get_block_hash, resolve_block_hashes

        self._ledger = ledger
        self._pool = kv_cache_manager.block_pool
        self._manager = kv_cache_manager
        self._managers = kv_cache_manager.coordinator.single_type_managers
        self._group_block_sizes = [manager.block_size for manager in self._managers]
        self._frees = any(manager.get_num_skipped_tokens(1 << 30) for manager in self._managers)
        """Whether some group frees blocks of running requests."""
        self._lookahead, self._max_model_len = lookahead_tokens, max_model_len
        self._most_states = [_most_states(manager.kv_cache_spec, ahead=ahead) for manager in self._managers]
        self._requests = requests
        self._hash_block_size = hash_block_size
        self._hash_of: Callable[[Any], bytes] = get_block_hash
        self._resolve: Callable[[Any, int, int], Sequence[bytes]] = resolve_block_hashes
        self._pins: dict[str, list[_GroupPin]] = {}
        self._holders: Counter[int] = Counter()
        """Number of pins that hold each pinned block, by block id."""

    def blocks_to_keep(self, request_id: str) -> list[_GroupPin]:
        """Return the blocks that a pin of a request that ends would hold: those that its next turn can hit."""
        if not self._frees:
            return self.full_blocks(request_id)
        request = self._requests[request_id]
        # The last token was sampled and is not computed; one more may be on its way.
        return self._hit(request, min(request.num_computed_tokens, request.num_tokens - 1))

    def full_blocks(self, request_id: str) -> list[_GroupPin]:
        """Return the full, hashed blocks of a request."""
        groups = []
        for table in self._manager.get_blocks(request_id).blocks:
            places = [i for i, block in enumerate(table) if block.block_hash is not None and not block.is_null]
            groups.append(_GroupPin(places, [table[i] for i in places]))
        return groups

    def hold(self, program: ProgramView, groups: list[_GroupPin], ttl_s: float, now_s: float) -> None:
        """Pin these blocks for a program that has no pin."""
        assert program.program_id not in self._pins
        self._take(program, groups)
        self._ledger.start(program, ttl_s, size(groups), now_s)

    def _take(self, program: ProgramView, groups: list[_GroupPin]) -> None:
        self._pins[program.program_id] = groups
        for group in groups:
            self._pool.touch(group.blocks)
            self._holders.update(block.block_id for block in group.blocks)

    def shrink(self, program: ProgramView, request: Any, most_tokens: int, now_s: float) -> None:
        """Free what a program's next prompt cannot use of its pin: everything from the first block that differs.

        At most `most_tokens` tokens are usable.
        """
        if self._frees:
            self._find_again(program, request, now_s)
            return
        groups, shrunk = self._pins[program.program_id], False
        for group, block_size in zip(groups, self._group_block_sizes, strict=True):
            keep = self._usable(group, request, block_size, most_tokens // block_size)
            if keep < len(group.blocks):
                shrunk = True
                self._let_go(group.blocks[keep:])
                del group.places[keep:], group.blocks[keep:]
        if shrunk:
            self._ledger.shrink(program, size(groups), now_s)

    def _find_again(self, program: ProgramView, request: Any, now_s: float) -> None:
        """Let a pin hold what the program's next request hits."""
        before = size(self._pins[program.program_id])
        self.release(program.program_id)
        groups = self._hit(request, request.num_prompt_tokens - 1)
        self._take(program, groups)
        if size(groups) < before:
            self._ledger.shrink(program, size(groups), now_s)

    def _hit(self, request: Any, most_tokens: int) -> list[_GroupPin]:
        """Return the blocks that the longest hit of at most so many tokens takes.

        Where windows free blocks, a turn no longer holds what its program's next turn will look for.
        """
        tables, tokens, _ = self._manager.coordinator.find_longest_cache_hit(request.block_hashes, most_tokens)
        groups = []
        for table, manager in zip(tables, self._managers, strict=True):
            skipped = manager.get_num_skipped_tokens(tokens) // manager.block_size
            places = [i for i, block in enumerate(table) if i >= skipped and not block.is_null]
            groups.append(_GroupPin(places, [table[i] for i in places]))
        return groups

    def lacks(self, request: Any, hits: Any, hit_tokens: int) -> bool:
        """Return whether a request's whole prompt may take more blocks than are free.

        vLLM takes hits that lie behind a window for blocks that the request need not allocate, and checks without the
        slots of drafts.
        """
        if not self._frees and not self._lookahead:
            return False
        tokens, needed = request.num_tokens, 0
        if self._lookahead:
            tokens = min(tokens + self._lookahead, self._max_model_len)
        for group, manager in enumerate(self._managers):
            table = hits.blocks[group] if hits is not None else ()
            whole = -(-tokens // manager.block_size)
            if self._most_states[group]:
                whole = min(whole, self._most_states[group] - bool(table) + len(table))
            elif manager.max_admission_blocks_per_request is not None:
                behind = manager.get_num_skipped_tokens(hit_tokens) // manager.block_size
                whole = min(whole, manager.max_admission_blocks_per_request + behind)
            needed += max(whole - len(table), 0)
            needed += sum(block.ref_cnt == 0 and not block.is_null for block in table)
        return bool(needed > self._pool.get_num_free_blocks())

    def waits_for_state(self, hits: Any) -> bool:
        """Return whether a request hits a recurrent state that only this step computes, whatever is free."""
        return hits is not None and any(
            most and table and table[-1].block_hash in manager.cached_blocks_this_step
            for manager, table, most in zip(self._managers, hits.blocks, self._most_states, strict=True)
        )

    def _usable(self, group: _GroupPin, request: Any, block_size: int, stop: int) -> int:
        """Return how many of a group's pinned blocks lie before block `stop` and before the first that differs."""
        hashes = self._resolve(request.block_hashes, self._hash_block_size, block_size)
        stop = min(stop, len(hashes))
        for at, (place, block) in enumerate(zip(group.places, group.blocks, strict=True)):
            if place >= stop or block.block_hash is None or self._hash_of(block.block_hash) != hashes[place]:
                return at
        return len(group.blocks)

    def release(self, program_id: str) -> None:
        """Drop a program's pin; blocks that nothing else references become free but stay cached, evicted tail first."""
        for group in self._pins.pop(program_id):
            self._let_go(group.blocks)

    def _let_go(self, blocks: Sequence[Any]) -> None:
        self._pool.free_blocks(reversed(blocks))
        for block in blocks:
            self._holders[block.block_id] -= 1
            if not self._holders[block.block_id]:
                del self._holders[block.block_id]

    def forget_content(self, groups: Iterable[_GroupPin]) -> None:
        """Drop the cached content of blocks that only their own request references, so they are blank once freed."""
        self._pool.evict_blocks({b.block_id for group in groups for b in group.blocks if b.ref_cnt == 1})

    @property
    def num_blocks(self) -> int:
        """Number of blocks held by pins; a block that several pins hold counts once."""
        return len(self._holders)

    def __contains__(self, program_id: object) -> bool:
        return program_id in self._pins

    def __len__(self) -> int:
        return len(self._pins)


def _most_states(spec: Any, *, ahead: bool) -> int:
    """Return how many blocks with recurrent states a request needs at once; 0 if it holds no states."""
    if not hasattr(spec, "mamba_cache_mode"):
        return 0
    # The one to go on from, the new one, one that a step under way reads, and one saved inside a step.
    return 2 + ahead + int(spec.num_prefill_checkpoint_blocks)


def size(groups: Iterable[_GroupPin]) -> int:
    """Return the number of blocks in all groups together."""
    return sum(len(group.blocks) for group in groups)
