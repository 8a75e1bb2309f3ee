"""The memory tiers below one engine's KV cache: what goes down, what comes back up, and when it arrives.

Host memory (DRAM) gets a copy of every context when its turn ends or is preempted, or only of the contexts that the
policy offloads; what DRAM evicts moves on to the SSD. A block is in at most one tier. The engine never waits for any of
this: only a turn that reloads waits for its own blocks.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from continuum_sim.engine.offload.config import TierConfig
from continuum_sim.engine.offload.link import Link
from continuum_sim.engine.offload.tier import Stretch, Tier
from continuum_sim.engine.request import Context, Request, Upload
from continuum_sim.policies.instants import EARLY_S, SAME_INSTANT_S

Mover = Request | Upload
"""What blocks are reloaded for: a turn that waits for them, or a context that the policy recalls."""


class TierTotals(NamedTuple):
    """Use of one tier over a whole run."""

    name: str
    blocks: int
    peak_used_blocks: int
    block_bytes: int
    written_blocks: int
    """Blocks written from above."""
    read_blocks: int
    """Blocks read back up."""
    link_busy_s: float
    """Seconds in which the link to this tier was busy."""
    links: int = 1
    """Number of such links in these totals."""


def sum_tiers(parts: Sequence[TierTotals]) -> TierTotals:
    """Add up the use of one tier over the engines that have it."""
    first = parts[0]
    # Lists, because a compiled sum over a generator rounds differently from Python's own since 3.12.
    sums = {name: sum([getattr(part, name) for part in parts]) for name in TierTotals._fields if name != "name"}
    return TierTotals(**{**sums, "name": first.name, "block_bytes": first.block_bytes})


class Tiers:
    """DRAM and SSD of one engine; policies see it as their `TierView`."""

    def __init__(self, config: TierConfig, block_size: int, prefill_s: Callable[[int], float]) -> None:
        """Start empty; `prefill_s` returns the seconds to compute a context of that many tokens."""
        self.config = config
        self.dram = Tier("dram", config.dram_blocks)
        self.ssd = Tier("ssd", config.ssd_blocks)
        self.dram_link = Link(config.dram_block_s)
        self.ssd_link = Link(config.ssd_block_s)
        self._block_size = block_size
        self._prefill_s = prefill_s
        self._from_ssd: list[tuple[float, int, int, Mover, float]] = []
        """Heap of (time at which the SSD has read them, sequence number, blocks, mover, end of its DRAM transfer)."""
        self._arrivals: list[tuple[float, int, Mover]] = []
        """Heap of (time by which all its blocks are back, sequence number, mover)."""
        self._numbered = 0

    # What policies see ----------------------------------------------------------------------------------

    @property
    def total_blocks(self) -> int:
        """Blocks that fit into host memory."""
        return self.dram.num_blocks

    @property
    def free_blocks(self) -> int:
        """Blocks of host memory that hold nothing."""
        return self.dram.free_blocks

    @property
    def spare_blocks(self) -> int:
        """Blocks of host memory that hold nothing, or copies of contexts that the policy did not offload."""
        return self.dram.spare_blocks

    @property
    def link_free_s(self) -> float:
        """When the link to host memory will have carried all its transfers."""
        return self.dram_link.free_s

    def transfer_s(self, tokens: int) -> float:
        """Return the seconds that `tokens` tokens take over the link to host memory, once their transfer starts."""
        return -(-tokens // self._block_size) * self.dram_link.block_s

    def rebuild_s(self, context_tokens: int) -> float:
        """Return R(C) of a context in host memory: to reload it, or to compute it where that is faster and allowed."""
        reload_s = self.transfer_s(context_tokens)
        return reload_s if self.config.reload == "always" else min(reload_s, self._prefill_s(context_tokens))

    # Down -----------------------------------------------------------------------------------------------

    def store(self, context: Context, stop: int, now_s: float) -> None:
        """Copy what DRAM lacks of a context's first `stop` blocks; all of them count as used now."""
        self.advance(now_s)
        parts = context.parts(0, stop)
        missing = sum(part.blocks - _overlap(part, self.dram) for part in parts)
        if missing:
            self._spill(self.dram.make_room(missing, {part.chain: part.stop for part in parts}), now_s)
            self.dram_link.send(missing, now_s)
            self.dram.written_blocks += missing
        for part in reversed(parts):  # a shared prefix counts as used after what follows it, so it is evicted later
            self.dram.put(*part)
            self.ssd.keep_from(part.chain, self.dram.span(part.chain)[1])

    def abandon(self, context: Context, start: int) -> None:
        """Forget a program's own content from block `start` on, which is no longer needed or is back on the GPU."""
        for tier in (self.dram, self.ssd):
            tier.keep_to(context.own, start)

    def hold(self, context: Context) -> None:
        """Evict a program's own content from DRAM, which has a copy of it, only after all that is not held."""
        self.dram.hold(context.own)

    def let_go(self, context: Context) -> None:
        """Treat a context that was held like any other again."""
        self.dram.let_go(context.own)

    def _spill(self, evicted: list[Stretch], now_s: float) -> None:
        """Move what DRAM evicted to the SSD, if there is one."""
        if not self.ssd.num_blocks:
            return
        for chain, start, stop in evicted:
            self.ssd.use(chain)
            self.ssd.make_room(stop - start)
            self.ssd.put(chain, start, stop)
            self.ssd_link.send(stop - start, now_s)
            self.ssd.written_blocks += stop - start

    # Up -------------------------------------------------------------------------------------------------

    def reload_stop(self, context: Context, start: int, stop: int, now_s: float) -> int:
        """Return up to which block a turn should reload if its first `start` blocks are cached; `start` for none.

        That is at most `stop`. Under `faster` it is the end of one of the stretches that the tiers hold: the one for
        which reloading up to there and computing the rest takes the least time on an otherwise idle engine.
        """
        self.advance(now_s)
        found = self._find(context, start, stop)
        if not found:
            return start
        if self.config.reload == "always":
            return found[-1][1].stop
        best, best_s = start, -self._prefill_s(start * self._block_size)
        dram_blocks = ssd_blocks = 0
        for tier, part in found:
            if tier is self.dram:
                dram_blocks += part.blocks
            else:
                ssd_blocks += part.blocks
            here_s = self._reload_s(dram_blocks, ssd_blocks, now_s) - self._prefill_s(part.stop * self._block_size)
            if here_s < best_s - SAME_INSTANT_S:
                best, best_s = part.stop, here_s
        return best

    def held_stop(self, context: Context, start: int, stop: int, now_s: float) -> int:
        """Return up to which block, at most `stop`, the tiers hold a context from `start` on without a gap."""
        self.advance(now_s)
        found = self._find(context, start, stop)
        return found[-1][1].stop if found else start

    def reload(self, mover: Mover, start: int, stop: int, now_s: float) -> None:
        """Start bringing blocks [start, stop) of a context back; call `advance(now_s)` first."""
        dram_blocks = ssd_blocks = 0
        for tier, part in self._find(mover.context, start, stop):
            tier.read_blocks += part.blocks
            if tier is self.dram:
                dram_blocks += part.blocks
            else:
                ssd_blocks += part.blocks
        for part in reversed(mover.context.parts(0, stop)):
            self.dram.use(part.chain)
            self.ssd.use(part.chain)
        end_s = self.dram_link.send(dram_blocks, now_s) if dram_blocks else now_s
        self._numbered += 1
        if ssd_blocks:
            read_s = self.ssd_link.send(ssd_blocks, now_s)
            heapq.heappush(self._from_ssd, (read_s, self._numbered, ssd_blocks, mover, end_s))
        else:
            heapq.heappush(self._arrivals, (end_s, self._numbered, mover))

    def advance(self, now_s: float) -> None:
        """Pass on the blocks that have come from the SSD by now: from host memory they take the other link."""
        while self._from_ssd and self._from_ssd[0][0] - EARLY_S <= now_s:
            read_s, number, blocks, mover, end_s = heapq.heappop(self._from_ssd)
            end_s = max(end_s, self.dram_link.send(blocks, read_s))
            heapq.heappush(self._arrivals, (end_s, number, mover))

    def arrived(self, now_s: float) -> list[tuple[float, Mover]]:
        """Return the turns and uploads whose blocks are back by now, in order, each with its time of arrival."""
        self.advance(now_s)
        back = []
        while self._arrivals and self._arrivals[0][0] - EARLY_S <= now_s:
            end_s, _, mover = heapq.heappop(self._arrivals)
            back.append((end_s, mover))
        return back

    def next_event_s(self) -> float:
        """Return the earliest time at which blocks arrive on the GPU or in host memory; may be infinite."""
        return min(
            self._from_ssd[0][0] if self._from_ssd else math.inf,
            self._arrivals[0][0] if self._arrivals else math.inf,
        )

    def _find(self, context: Context, start: int, stop: int) -> list[tuple[Tier, Stretch]]:
        """Return which tier holds which of the blocks [start, stop), up to the first one that no tier holds."""
        found: list[tuple[Tier, Stretch]] = []
        for chain, at, end in context.parts(start, stop):
            while at < end:
                for tier in (self.dram, self.ssd):
                    held_start, held_stop = tier.span(chain)
                    if held_start <= at < held_stop:
                        found.append((tier, Stretch(chain, at, min(end, held_stop))))
                        at = min(end, held_stop)
                        break
                else:
                    return found
        return found

    def _reload_s(self, dram_blocks: int, ssd_blocks: int, now_s: float) -> float:
        """Return the seconds until the given blocks of each tier would be back, as the links stand now."""
        dram_s = self.dram_link.wait_s(now_s) + dram_blocks * self.dram_link.block_s
        if not ssd_blocks:
            return dram_s
        ssd_s = self.ssd_link.wait_s(now_s) + ssd_blocks * self.ssd_link.block_s
        return max(dram_s, ssd_s) + ssd_blocks * self.dram_link.block_s

    # Totals ---------------------------------------------------------------------------------------------

    def totals(self, end_s: float) -> tuple[TierTotals, ...]:
        """Return the use of each tier that exists, up to the end of a run."""
        pairs = ((self.dram, self.dram_link), (self.ssd, self.ssd_link))
        return tuple(
            TierTotals(
                tier.name,
                tier.num_blocks,
                tier.peak_used_blocks,
                self.config.block_bytes,
                tier.written_blocks,
                tier.read_blocks,
                link.busy_s(end_s),
            )
            for tier, link in pairs
            if tier.num_blocks
        )


def _overlap(part: Stretch, tier: Tier) -> int:
    """Return how many blocks of a stretch a tier holds."""
    start, stop = tier.span(part.chain)
    return max(0, min(stop, part.stop) - max(start, part.start))
