"""vLLM's host memory of native KV offload: what is stored, can be read, and is evicted.

It follows `CPUOffloadingManager` (`vllm/v1/kv_offload/cpu/manager.py`) call for call, over runs of blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from continuum_sim.engine.chain import Chain
from continuum_sim.engine.offload.config import EvictionPolicy
from continuum_sim.engine.offload.host_policies import Access, ArcPolicy, LruPolicy
from continuum_sim.engine.offload.host_runs import RunIndex
from continuum_sim.engine.offload.spans import Spans, add, outside
from continuum_sim.engine.offload.tier import Stretch


class Found(NamedTuple):
    """What host memory has of a prompt without a gap."""

    blocks: int
    pending: bool
    """Whether some of them are still being stored."""
    loading: bool
    """Whether some of them are being loaded for another request."""


class HostMemory:
    """How much of host memory is used; in chunks, if these are of several blocks."""

    def __init__(self, num_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.used_blocks = 0
        self.peak_used_blocks = 0
        self.evicted_blocks = 0


class HostCache(HostMemory):
    """Blocks in host memory with the transfers that use them, and an eviction policy."""

    def __init__(self, num_blocks: int, eviction_policy: EvictionPolicy, *, ranks_requests: bool) -> None:
        """Start empty; see `LruPolicy` for `ranks_requests`."""
        super().__init__(num_blocks)
        self.held = RunIndex()
        self._policy = (
            ArcPolicy(self.held, num_blocks)
            if eviction_policy == "arc"
            else LruPolicy(self.held, num_blocks, ranks_requests=ranks_requests)
        )

    def lookup(self, parts: Sequence[Stretch]) -> Found:
        """Return how much there is of a prompt's further blocks, up to the first that is missing (`lookup`)."""
        blocks, pending, loading = 0, False, False
        for chain, start, stop in parts:
            at = start
            for run in self.held.within(chain, start, stop):
                if run.start > at:
                    break
                blocks += min(run.stop, stop) - at
                at = min(run.stop, stop)
                pending = pending or run.pending
                loading = loading or run.loading
            if at < stop:
                break
        return Found(blocks, pending, loading)

    def prepare_load(self, access: Access, start: int, stop: int) -> None:
        """Keep blocks that are there until they are loaded."""
        for part in access.parts(start, stop):
            for run in self.held.cut(*part):
                run.loading = True
        self._record(access, [(start, stop)], [(start, stop)])

    def complete_load(self, access: Access, start: int, stop: int) -> None:
        """Let them be evicted again."""
        for part in access.parts(start, stop):
            for run in self.held.cut(*part):
                run.loading = False

    def prepare_store(self, access: Access, start: int, stop: int) -> Spans | None:
        """Make room for those of a request's blocks that are missing, and return them; None if there is no room.

        What is there already counts as used by the request, unless it is still being stored for another one.
        """
        missing: Spans = []
        ready: Spans = []
        for chain, at, end in access.parts(start, stop):
            for run in self.held.within(chain, at, end):
                if run.start > at:
                    add(missing, at, run.start)
                first, at = max(run.start, at), min(run.stop, end)
                if not run.pending:
                    add(ready, first, at)
            if at < end:
                add(missing, at, end)
        unknown = [span for one in missing for span in outside(access.missed, *one)]
        if unknown:
            self._policy.missed([part for span in unknown for part in access.parts(*span)])
            for span in unknown:
                add(access.missed, *span)
        self._record(access, sorted([*missing, *ready]), ready)
        if not missing:
            return missing
        lack = sum([end - at for at, end in missing]) - (self.num_blocks - self.used_blocks)
        if lack > 0 and not self._evict(lack, access.parts(start, stop)):
            return None
        for at, end in missing:
            for part in access.parts(at, end):
                run = self._policy.insert(access, *part)
                run.pending = True
                self.held.add(run)
            self.used_blocks += end - at
            add(access.inserted, at, end)
        self.peak_used_blocks = max(self.peak_used_blocks, self.used_blocks)
        return missing

    def complete_store(self, access: Access, spans: Spans) -> None:
        """Let blocks be read that have been stored."""
        for start, stop in spans:
            for part in access.parts(start, stop):
                for run in self.held.cut(*part):
                    run.pending = False

    def request_finished(self, access: Access) -> None:
        """Count a request as one use of all that it accessed."""
        self._policy.finished(access)

    def drop(self, chain: Chain, start: int, other: Chain) -> None:
        """Let what is held of a content from `start` on be another one, that no prompt asks for any more."""
        self.held.relabel(chain, start, other)
        self._policy.relabel(chain, start, other)

    def _record(self, access: Access, spans: Spans, reused: Spans) -> None:
        """Note what a request accesses (`_record_request_cache_access`)."""
        unseen = [span for one in spans for span in outside(access.seen, *one)]
        for span in unseen:
            add(access.seen, *span)
        self._policy.accessed(access, unseen)
        for one in reused:
            for span in outside(access.inserted, *one):
                add(access.reused, *span)

    def _evict(self, blocks: int, spared: Sequence[Stretch]) -> bool:
        """Evict so many blocks, or none and return False."""
        chosen = self._policy.evict(blocks, spared)
        if chosen is None:
            return False
        for part in chosen:
            for run in self.held.cut(*part):
                self._policy.evicted(run)
                self.held.remove(run)
        self._policy.trim()
        self.used_blocks -= blocks
        self.evicted_blocks += blocks
        return True
