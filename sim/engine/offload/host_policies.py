"""What vLLM's host memory evicts: `lru` and `arc`, over runs of blocks (`vllm/v1/kv_offload/cpu/policies`)."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.engine.chain import Chain
from continuum_sim.engine.offload.host_runs import HostRun, Ranking, RunIndex
from continuum_sim.engine.offload.spans import Spans, outside
from continuum_sim.engine.offload.tier import Stretch
from continuum_sim.engine.request import Context


class Access:
    """What one request has stored, loaded or found in host memory (`_RequestCacheAccess`), by block of its context."""

    __slots__ = ("inserted", "missed", "rank", "reused", "seen", "segments")

    def __init__(self, context: Context, blocks_per_chunk: int = 1) -> None:
        self.segments: list[Stretch] = []
        """Whose content the chunks are: a shared prefix's, the program's, or one that the program has dropped since."""
        shared = 0
        if context.shared is not None and context.shared_blocks >= blocks_per_chunk:
            shared = context.shared_blocks // blocks_per_chunk
            self.segments.append(Stretch(context.shared, 0, shared))
        self.segments.append(Stretch(context.own, shared, 1 << 60))
        self.seen: Spans = []
        self.inserted: Spans = []
        self.reused: Spans = []
        """Found ready, unless it inserted them itself."""
        self.missed: Spans = []
        """Whose absence the policy has been told of."""
        self.rank = -1
        """Its place in the order of eviction while it is served (0.33); -1 before it has one."""

    def parts(self, start: int, stop: int) -> list[Stretch]:
        """Return blocks [start, stop) as stretches of one content each."""
        return [
            Stretch(chain, max(at, start), min(end, stop))
            for chain, at, end in self.segments
            if at < stop and end > start
        ]

    def drop(self, chain: Chain, start: int, other: Chain) -> None:
        """Note that blocks of a content from `start` on are now called another one."""
        segments: list[Stretch] = []
        for part in self.segments:
            if part.chain is not chain or part.stop <= start:
                segments.append(part)
                continue
            if part.start < start:
                segments.append(Stretch(chain, part.start, start))
            segments.append(Stretch(other, max(start, part.start), part.stop))
        self.segments = segments


class LruPolicy:
    """Least recently used first, where a request counts as one use, when it has finished; its tail goes first."""

    def __init__(self, held: RunIndex, capacity: int, *, ranks_requests: bool) -> None:
        """Start empty.

        Parameters
        ----------
        ranks_requests
            Whether blocks of a request that is served have a common place, its tail first (0.33), or each that of its
            insertion (0.32).
        """
        self._held = held
        self._ranks_requests = ranks_requests
        self._ranking = Ranking()
        self._rank = 0

    def missed(self, parts: Sequence[Stretch]) -> None:
        """Called before blocks are stored that were not there, once for each request (`on_store_miss`)."""

    def accessed(self, access: Access, spans: Spans) -> None:
        """Called when a request first accesses blocks, which need not be there (`on_request_access` of 0.33)."""
        if not self._ranks_requests or not spans:
            return
        rank = self._rank_of(access)
        for start, stop in spans:
            for part in access.parts(start, stop):
                for run in self._held.cut(*part):
                    if run.rank < rank:
                        self._ranking.remove(run)
                        run.rank, run.head_first = rank, False
                        self._ranking.add(run)

    def insert(self, access: Access, chain: Chain, start: int, stop: int) -> HostRun:
        """Give new blocks a place and return them."""
        rank = self._rank_of(access) if self._ranks_requests else self.next_rank()
        run = HostRun(chain, start, stop, rank, self._ranking, head_first=not self._ranks_requests)
        self._ranking.add(run)
        return run

    def finished(self, access: Access) -> None:
        """Count a request's use of all that it accessed, from its last block to its first (`on_request_finished`)."""
        for run in self._accessed(access):
            self._renew(run, self._ranking)

    def evict(self, blocks: int, spared: Sequence[Stretch]) -> list[Stretch] | None:
        """Choose idle blocks to evict, none of `spared`; None if there are not as many."""
        chosen: list[Stretch] = []
        return chosen if _choose(self._ranking, blocks, spared, chosen) == blocks else None

    def evicted(self, run: HostRun) -> None:
        """Forget blocks that are evicted."""
        self._ranking.remove(run)

    def trim(self) -> None:
        """Called when an eviction is complete."""

    def relabel(self, chain: Chain, start: int, other: Chain) -> None:
        """Follow a content that is now called another one; the blocks held have been relabelled."""

    def next_rank(self) -> int:
        """Return the rank of what is used now."""
        self._rank += 1
        return self._rank

    def _rank_of(self, access: Access) -> int:
        if access.rank < 0:
            access.rank = self.next_rank()
        return access.rank

    def _accessed(self, access: Access) -> list[HostRun]:
        """Return what is held of all that a request accessed, from its last block to its first."""
        return [
            run
            for start, stop in reversed(access.seen)
            for part in reversed(access.parts(start, stop))
            for run in reversed(self._held.cut(*part))
        ]

    def _renew(self, run: HostRun, ranking: Ranking) -> None:
        """Make blocks the most recently used ones; those that follow them in the context may have been so until now."""
        after = ranking.runs[-1] if ranking.runs else None
        run.ranking.remove(run)
        if after is not None and after.follows(run) and after.rank == self._rank:
            self._held.remove(run)
            ranking.blocks += run.stop - run.start
            after.start = run.start
            return
        run.rank, run.head_first = self.next_rank(), False
        ranking.add(run)


class ArcPolicy(LruPolicy):
    """Adaptive replacement: blocks used by one request (T1) and by several (T2), and what was evicted of each (B1, B2).

    Blocks of T1 are evicted while it is as large as a target that grows by stores of what is in B1, and shrinks by
    those of what is in B2.
    """

    def __init__(self, held: RunIndex, capacity: int) -> None:
        super().__init__(held, capacity, ranks_requests=False)
        self._capacity = capacity
        self._t1 = self._ranking
        self._t2, self._b1, self._b2 = Ranking(), Ranking(), Ranking()
        self._ghosts = RunIndex()
        self._target_t1_size = 0.0

    def missed(self, parts: Sequence[Stretch]) -> None:
        """Adapt the target to what was evicted too early (`_adapt_to_ghost_hit`)."""
        b1, b2 = self._b1, self._b2
        for part in reversed(parts):
            for run in reversed(self._ghosts.cut(*part)):
                ranking = run.ranking
                here, there = (b1.blocks, b2.blocks) if ranking is b1 else (b2.blocks, b1.blocks)
                delta = max(1.0, there / here)
                for _ in range(run.stop - run.start):  # one by one, as sums of floats depend on it
                    if ranking is b1:
                        self._target_t1_size = min(self._target_t1_size + delta, float(self._capacity))
                    else:
                        self._target_t1_size = max(self._target_t1_size - delta, 0.0)
                ranking.remove(run)
                run.rank, run.head_first = self.next_rank(), False
                ranking.add(run)

    def insert(self, access: Access, chain: Chain, start: int, stop: int) -> HostRun:
        """Give new blocks a place in T1 and return them."""
        for ghost in self._ghosts.cut(chain, start, stop):
            ghost.ranking.remove(ghost)
            self._ghosts.remove(ghost)
        return super().insert(access, chain, start, stop)

    def finished(self, access: Access) -> None:
        """Move what a request used and had not inserted to T2, and renew what it inserted where that is."""
        spans = [(start, stop, True) for start, stop in access.reused]
        spans += [(start, stop, False) for one in access.inserted for start, stop in outside(access.reused, *one)]
        for start, stop, reused in sorted(spans, reverse=True):
            for part in reversed(access.parts(start, stop)):
                for run in reversed(self._held.cut(*part)):
                    self._renew(run, self._t2 if reused else run.ranking)

    def evict(self, blocks: int, spared: Sequence[Stretch]) -> list[Stretch] | None:
        """Choose idle blocks of T1 while that is too large, then of T2, then of T1 again."""
        chosen: list[Stretch] = []
        most = min(blocks, max(0, self._t1.blocks - int(self._target_t1_size) + 1))
        first = _choose(self._t1, most, spared, chosen)
        found = first + _choose(self._t2, blocks - first, spared, chosen)
        if found < blocks and first == most:
            found += _choose(self._t1, blocks - found, spared, chosen, skip=first)
        return chosen if found == blocks else None

    def evicted(self, run: HostRun) -> None:
        """Remember blocks that are evicted."""
        recent = run.ranking is self._t1
        run.ranking.remove(run)
        ghosts = self._b1 if recent else self._b2
        ghost = HostRun(run.chain, run.start, run.stop, self.next_rank(), ghosts, head_first=run.head_first)
        ghosts.add(ghost)
        self._ghosts.add(ghost)

    def trim(self) -> None:
        """Forget of either kind what is more than the capacity."""
        for ghosts in (self._b1, self._b2):
            while (excess := ghosts.blocks - self._capacity) > 0:
                run = ghosts.runs[0]
                if run.stop - run.start > excess:
                    if run.head_first:
                        self._ghosts.split(run, run.start + excess)
                    else:
                        run = self._ghosts.split(run, run.stop - excess)
                ghosts.remove(run)
                self._ghosts.remove(run)

    def relabel(self, chain: Chain, start: int, other: Chain) -> None:
        """Let what was evicted of a content from `start` on be another one."""
        self._ghosts.relabel(chain, start, other)


def _choose(ranking: Ranking, blocks: int, spared: Sequence[Stretch], chosen: list[Stretch], skip: int = 0) -> int:
    """Choose up to so many idle blocks in order of eviction, after the first `skip`; return how many there were."""
    found = 0
    for run in ranking.runs:
        if found == blocks:
            break
        if not run.idle:
            continue
        kept = [(part.start, part.stop) for part in spared if part.chain is run.chain]
        spans = outside(kept, run.start, run.stop)
        for start, stop in spans if run.head_first else reversed(spans):
            passed = min(skip, stop - start)
            skip -= passed
            take = min(blocks - found, stop - start - passed)
            if not take:
                continue
            at = start + passed if run.head_first else stop - passed - take
            chosen.append(Stretch(run.chain, at, at + take))
            found += take
    return found
