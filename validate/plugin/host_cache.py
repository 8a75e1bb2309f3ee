"""What vLLM's native KV offload evicts from host memory, chosen by a retention rule. Importing this imports vLLM.

vLLM loads `RetentionCachePolicy` by name (`cache_policy_module_path`), without a patch. Under the plug-in's scheduler
it asks the policy's `pin_to_break` which program's context goes, as if host memory held pins; elsewhere it is LRU.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vllm.v1.kv_offload.cpu.policies.base import CachePolicy, ChunkStatus

from continuum_sim.policies.views import Pin, ProgramView, TurnView

if TYPE_CHECKING:
    from continuum_sim.policies.host.governor import Governor

_NOBODY = ""
"""Owner of chunks that no known program used last."""


class RetentionCachePolicy(CachePolicy):  # type: ignore[misc]
    """Chunks by the program that used them last; of the one that is chosen, the tail of its context goes first."""

    def __init__(self, cache_capacity: int) -> None:
        super().__init__(cache_capacity)
        self._chunks: dict[Any, ChunkStatus] = {}
        self._owners: dict[Any, str] = {}
        self._ranks: dict[Any, int] = {}
        self._idle: dict[str, set[Any]] = {}
        """Chunks that no transfer uses, by owner."""
        self._used: dict[str, int] = {}
        """Rank of each owner's latest use."""
        self._rank = 0
        self._turns: dict[str, TurnView] = {}
        """Turns by request, until vLLM has no more to say of them."""
        self._storing: str | None = None
        """The request whose chunks are being stored."""
        self._governor: Governor | None = None
        self._now_s: Any = None

    # Told by the plug-in ----------------------------------------------------------------------------------

    def attach(self, governor: Governor, now_s: Any) -> None:
        """Let a policy choose from now on; `now_s` returns the time on its clock."""
        self._governor, self._now_s = governor, now_s

    def turn_arrived(self, request_id: str, turn: TurnView) -> None:
        """Note whose turn a request is."""
        self._turns[request_id] = turn

    # Told by vLLM -----------------------------------------------------------------------------------------

    def get(self, key: Any) -> ChunkStatus | None:
        """Return a chunk that is held."""
        return self._chunks.get(key)

    def on_store_miss(self, keys: Iterable[Any], req_context: Any) -> None:
        """Note who stores what comes next (0.32 inserts it without a word of that)."""
        self._storing = req_context.req_id

    def insert(self, key: Any, chunk: ChunkStatus, req_context: Any = None) -> None:
        """Hold a chunk that is about to be stored."""
        request = self._storing if req_context is None else req_context.req_id
        self._chunks[key] = chunk
        self._own(key, self._owner_of(request))

    def remove(self, key: Any) -> None:
        """Forget a chunk whose store failed."""
        del self._chunks[key]
        self._forget(key)

    def touch(self, keys: Iterable[Any], req_context: Any) -> None:
        """Count a use of chunks, from the last to the first."""
        owner = self._owner_of(req_context.req_id)
        for key in reversed(list(keys)):
            if key in self._chunks:
                self._own(key, owner)

    def on_request_finished(
        self,
        key_groups: Sequence[Sequence[Any]],
        insertion_only_keys: set[Any],
        reused_keys: set[Any],
        req_context: Any,
    ) -> None:
        """Count a request as one use of all that it accessed."""
        for keys in key_groups:
            self.touch(keys, req_context)
        self._turns.pop(req_context.req_id, None)

    def mark_evictable(self, key: Any) -> None:
        """Let a chunk be evicted that no transfer uses any more."""
        self._idle.setdefault(self._owners[key], set()).add(key)

    def mark_non_evictable(self, key: Any) -> None:
        """Keep a chunk that is about to be loaded."""
        self._idle[self._owners[key]].discard(key)

    def evict(self, n: int, protected: set[Any]) -> list[tuple[Any, ChunkStatus]] | None:
        """Choose programs until their chunks suffice; None if all that is idle does not."""
        left = {owner: keys - protected for owner, keys in self._idle.items()}
        left = {owner: keys for owner, keys in left.items() if keys}
        if sum(map(len, left.values())) < n:
            return None
        evicted: list[tuple[Any, ChunkStatus]] = []
        while len(evicted) < n:
            owner = self._next_owner(left)
            for key in sorted(left.pop(owner), key=self._ranks.__getitem__)[: n - len(evicted)]:
                self._idle[owner].discard(key)
                evicted.append((key, self._chunks.pop(key)))
                self._forget(key)
        return evicted

    def clear(self) -> None:
        """Forget everything."""
        for held in (self._chunks, self._owners, self._ranks, self._idle, self._used):
            held.clear()

    # Within -----------------------------------------------------------------------------------------------

    def _owner_of(self, request_id: str | None) -> str:
        turn = None if request_id is None else self._turns.get(request_id)
        return _NOBODY if turn is None else turn.program.program_id

    def _own(self, key: Any, owner: str) -> None:
        """Give a chunk to an owner, who used it now."""
        before = self._owners.get(key, owner)
        if before != owner and key in self._idle.get(before, ()):
            self._idle[before].discard(key)
            self._idle.setdefault(owner, set()).add(key)
        self._rank += 1
        self._owners[key] = owner
        self._ranks[key] = self._used[owner] = self._rank

    def _forget(self, key: Any) -> None:
        owner = self._owners.pop(key)
        del self._ranks[key]
        idle = self._idle.get(owner)
        if idle is not None:
            idle.discard(key)

    def _next_owner(self, left: dict[str, set[Any]]) -> str:
        """Return whose chunks go next: those of programs that have ended, of the rule's choice, least recently used."""
        programs = {} if self._governor is None else self._governor.programs
        ended = [owner for owner in left if owner not in programs]
        if ended or self._governor is None:
            return min(ended or left, key=self._used.__getitem__)
        head = None if self._storing is None else self._turns.get(self._storing)
        chosen = None
        if head is not None:
            others: Collection[ProgramView] = [programs[owner] for owner in left if owner != head.program.program_id]
            held = [self._as_pinned(program, len(left[program.program_id])) for program in others]
            held.sort(key=lambda program: (program.arrival_s, program.seq))
            chosen = self._governor.first_to_go(held, head, self._now_s()) if held else None
        return min(left, key=self._used.__getitem__) if chosen is None else chosen.program_id

    def _as_pinned(self, program: ProgramView, blocks: int) -> ProgramView:
        """Return a program as if a pin held its context in host memory since its last turn ended."""
        seen = copy.copy(program)
        since_s = self._now_s() if program.turn_end_s is None else program.turn_end_s
        seen.pin = Pin(math.inf, blocks, since_s)
        return seen


def host_cache_of(scheduler: Any) -> RetentionCachePolicy | None:
    """Return the policy of a scheduler's native offload, if it is this one."""
    connector = getattr(scheduler.connector, "connector_scheduler", None)
    policy = getattr(getattr(connector, "manager", None), "_policy", None)
    return policy if isinstance(policy, RetentionCachePolicy) else None
