"""What vLLM's host memory evicts where several KV cache groups share it: `lru` and `arc`, chunk by chunk.

They follow `vllm/v1/kv_offload/cpu/policies` call for call. Chunks of windows and states lie scattered in a context, so
nothing is gained by keeping them as runs, as `host_policies.py` does for one group.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from continuum_sim.engine.offload.contents import Key


class Chunk:
    """A chunk in host memory; `refs` counts the loads under way, and is -1 until it has been stored."""

    __slots__ = ("refs",)

    def __init__(self) -> None:
        self.refs = -1


class KeyAccess:
    """What one request has stored, loaded or found in host memory (`_RequestCacheAccess`)."""

    __slots__ = ("inserted", "missed", "rank", "reused", "seen")

    def __init__(self) -> None:
        self.seen: dict[Key, None] = {}
        self.inserted: set[Key] = set()
        self.reused: set[Key] = set()
        """Found ready, unless it inserted them itself."""
        self.missed: set[Key] = set()
        """Whose absence the policy has been told of."""
        self.rank = -1
        """Its place in the order of eviction while it is served (0.33); -1 before it has one."""

    def tail_first(self) -> list[Key]:
        """Return all that it accessed, from the end of the context to its front, and the last group first."""
        return sorted(self.seen, key=_place, reverse=True)


class KeyedLru:
    """Least recently used first, where a request counts as one use, when it has finished; its tail goes first."""

    def __init__(self, *, ranks_requests: bool) -> None:
        """Start empty.

        Parameters
        ----------
        ranks_requests
            Whether chunks of a request that is served have a common place, its tail first (0.33), or each that of its
            insertion (0.32).
        """
        self.chunks: dict[Key, Chunk] = {}
        self._ranks_requests = ranks_requests
        self._ranks: dict[Key, tuple[int, int]] = {}
        self._heap: list[tuple[tuple[int, int], int, Key]] = []
        """(rank, group, chunk); entries of another rank than the chunk's own are void."""
        self._rank = 0

    def get(self, key: Key) -> Chunk | None:
        """Return a chunk that is there."""
        return self.chunks.get(key)

    def missed(self, keys: Sequence[Key]) -> None:
        """Called before chunks are stored that were not there, once for each request (`on_store_miss`)."""

    def accessed(self, access: KeyAccess, keys: Iterable[Key]) -> None:
        """Called when a request first accesses chunks, which need not be there (`on_request_access` of 0.33)."""
        if not self._ranks_requests:
            return
        request_rank = self._rank_of(access)
        for key in keys:
            rank = (request_rank, -key[1])
            if key in self.chunks and self._ranks[key] < rank:
                self._put(key, rank)

    def insert(self, access: KeyAccess, key: Key, chunk: Chunk) -> None:
        """Give a new chunk a place."""
        self.chunks[key] = chunk
        if self._ranks_requests:
            self._put(key, (self._rank_of(access), -key[1]))
        else:
            self._put(key, (self._next_rank(), 0))

    def finished(self, access: KeyAccess) -> None:
        """Count a request's use of all that it accessed, from its end to its front (`on_request_finished`)."""
        for key in access.tail_first():
            if key in self.chunks:
                self._put(key, (self._next_rank(), 0))

    def evict(self, number: int, spared: set[Key]) -> bool:
        """Evict so many idle chunks, none of `spared`; or none at all and return False if there are not as many."""
        chosen: dict[Key, None] = {}
        kept: list[tuple[tuple[int, int], int, Key]] = []
        while self._heap and len(chosen) < number:
            entry = heapq.heappop(self._heap)
            rank, _, key = entry
            if self._ranks.get(key) != rank:
                continue
            kept.append(entry)
            if key not in spared and self.chunks[key].refs == 0:
                chosen[key] = None
        enough = len(chosen) == number
        if enough:
            for key in chosen:
                del self.chunks[key], self._ranks[key]
        for entry in kept:
            if self._ranks.get(entry[2]) == entry[0]:
                heapq.heappush(self._heap, entry)
        return enough

    def _put(self, key: Key, rank: tuple[int, int]) -> None:
        self._ranks[key] = rank
        heapq.heappush(self._heap, (rank, key[2], key))
        if len(self._heap) > 64 + 4 * len(self._ranks):
            self._heap = [(rank, key[2], key) for key, rank in self._ranks.items()]
            heapq.heapify(self._heap)

    def _rank_of(self, access: KeyAccess) -> int:
        if access.rank < 0:
            access.rank = self._next_rank()
        return access.rank

    def _next_rank(self) -> int:
        self._rank += 1
        return self._rank


class KeyedArc:
    """Adaptive replacement: chunks used by one request (T1) and by several (T2), and what was evicted of each (B1, B2).

    Each is in order of eviction.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._t1: dict[Key, Chunk] = {}
        self._t2: dict[Key, Chunk] = {}
        self._b1: dict[Key, None] = {}
        self._b2: dict[Key, None] = {}
        self._target_t1_size = 0.0

    def get(self, key: Key) -> Chunk | None:
        """Return a chunk that is there."""
        return self._t1.get(key) or self._t2.get(key)

    def missed(self, keys: Sequence[Key]) -> None:
        """Adapt the target to what was evicted too early (`_adapt_to_ghost_hit`)."""
        for key in reversed(keys):
            for here, there, sign in ((self._b1, self._b2, 1), (self._b2, self._b1, -1)):
                if key in here:
                    target = self._target_t1_size + sign * max(1.0, len(there) / len(here))
                    self._target_t1_size = min(max(target, 0.0), float(self._capacity))
                    del here[key]
                    here[key] = None
                    break

    def accessed(self, access: KeyAccess, keys: Iterable[Key]) -> None:
        """Called when a request first accesses chunks."""

    def insert(self, access: KeyAccess, key: Key, chunk: Chunk) -> None:
        """Give a new chunk a place in T1."""
        self._t1[key] = chunk
        self._b1.pop(key, None)
        self._b2.pop(key, None)

    def finished(self, access: KeyAccess) -> None:
        """Move what a request used and had not inserted to T2, and renew what it inserted where that is."""
        for key in access.tail_first():
            if key in access.reused:
                chunk = self._t1.pop(key, None) or self._t2.pop(key, None)
                if chunk is not None:
                    self._t2[key] = chunk
            elif key in access.inserted:
                for ranking in (self._t1, self._t2):
                    if key in ranking:
                        ranking[key] = ranking.pop(key)
                        break

    def evict(self, number: int, spared: set[Key]) -> bool:
        """Evict so many idle chunks of T1 while that is too large, then of T2, then of T1 again; or none."""
        recent, frequent = _idle(self._t1, spared), _idle(self._t2, spared)
        size = len(self._t1)
        chosen: list[tuple[Key, bool]] = []
        for _ in range(number):
            key = next(recent, None) if size >= int(self._target_t1_size) else None
            of_t1 = key is not None
            if key is None:
                key = next(frequent, None)
            if key is None:
                key, of_t1 = next(recent, None), True
            if key is None:
                return False
            size -= of_t1
            chosen.append((key, of_t1))
        for key, of_t1 in chosen:
            del (self._t1 if of_t1 else self._t2)[key]
            (self._b1 if of_t1 else self._b2)[key] = None
        for ghosts in (self._b1, self._b2):
            while len(ghosts) > self._capacity:
                del ghosts[next(iter(ghosts))]
        return True


def _idle(ranking: dict[Key, Chunk], spared: set[Key]) -> Iterator[Key]:
    return iter([key for key, chunk in ranking.items() if chunk.refs == 0 and key not in spared])


def _place(key: Key) -> tuple[int, int]:
    return key[1:]
