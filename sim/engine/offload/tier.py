"""One memory tier: which blocks of which chains it holds, least recently used first.

As in the block pool, adjacent blocks are kept as one stretch, so what happens to a context costs the same however long
it is. A chain is used as a whole and evicted tail first, as in vLLM's own tier
(`vllm/v1/kv_offload/cpu/policies/lru.py`), so a tier holds at most one stretch of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from continuum_sim.engine.chain import Chain

_NOTHING: Final[Mapping[Chain, int]] = {}


class Stretch(NamedTuple):
    """Blocks [start, stop) of one chain."""

    chain: Chain
    start: int
    stop: int

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return self.stop - self.start


class Tier:
    """Chains in order of their latest use."""

    def __init__(self, name: str, num_blocks: int) -> None:
        self.name = name
        self.num_blocks = num_blocks
        self.used_blocks = 0
        self.peak_used_blocks = 0
        self.written_blocks = 0
        """Blocks written from above over the whole run."""
        self.read_blocks = 0
        """Blocks read back up over the whole run."""
        self._stretches: dict[Chain, tuple[int, int]] = {}
        self._held: dict[Chain, None] = {}

    @property
    def free_blocks(self) -> int:
        """Blocks that hold nothing."""
        return self.num_blocks - self.used_blocks

    @property
    def spare_blocks(self) -> int:
        """Blocks that hold nothing, or a chain that is not held (see `hold`)."""
        return self.num_blocks - sum(stop - start for start, stop in map(self.span, self._held))

    def hold(self, chain: Chain) -> None:
        """Evict this chain only after all chains that are not held."""
        self._held[chain] = None

    def let_go(self, chain: Chain) -> None:
        """Treat a chain that was held like any other again."""
        self._held.pop(chain, None)

    def span(self, chain: Chain) -> tuple[int, int]:
        """Return which blocks [start, stop) of a chain the tier has; (0, 0) if it has none."""
        return self._stretches.get(chain, (0, 0))

    def use(self, chain: Chain) -> None:
        """Make a chain the most recently used one."""
        if chain in self._stretches:
            self._stretches[chain] = self._stretches.pop(chain)

    def put(self, chain: Chain, start: int, stop: int) -> None:
        """Add blocks [start, stop) of a chain and make it the most recently used one; the caller has made room.

        They must adjoin or overlap what the tier has of the chain.
        """
        held_start, held_stop = self._stretches.pop(chain, (start, start))
        assert held_start <= stop, "a stretch has no holes"
        assert start <= held_stop, "a stretch has no holes"
        self.used_blocks -= held_stop - held_start
        start, stop = min(start, held_start), max(stop, held_stop)
        self._stretches[chain] = (start, stop)
        self.used_blocks += stop - start
        self.peak_used_blocks = max(self.peak_used_blocks, self.used_blocks)

    def keep_to(self, chain: Chain, stop: int) -> None:
        """Forget a chain's blocks from `stop` on."""
        start, held_stop = self.span(chain)
        if stop < held_stop:
            self._resize(chain, start, stop)

    def keep_from(self, chain: Chain, start: int) -> None:
        """Forget a chain's blocks before `start`."""
        held_start, stop = self.span(chain)
        if held_start < min(start, stop):
            self._resize(chain, start, stop)

    def make_room(self, blocks: int, spare: Mapping[Chain, int] = _NOTHING) -> list[Stretch]:
        """Evict the least recently used blocks until `blocks` are free; return what was evicted, tails first.

        Chains that are held go last. Of a chain in `spare`, the blocks before the given index stay; the tier must be
        large enough for those and the new blocks together.
        """
        lost: list[Stretch] = []
        while (lack := blocks - self.free_blocks) > 0:
            chain = self._next_to_evict(spare)
            start, stop = self._stretches[chain]
            start = max(start, spare.get(chain, 0), stop - lack)
            lost.append(Stretch(chain, start, stop))
            self.keep_to(chain, start)
        return lost

    def _next_to_evict(self, spare: Mapping[Chain, int]) -> Chain:
        """Return the least recently used chain with blocks to evict: one that is not held, if there is any."""
        first_held: Chain | None = None
        for chain, (_, stop) in self._stretches.items():
            if stop > spare.get(chain, 0):
                if chain not in self._held:
                    return chain
                if first_held is None:
                    first_held = chain
        assert first_held is not None, "the tier is large enough"
        return first_held

    def _resize(self, chain: Chain, start: int, stop: int) -> None:
        held_start, held_stop = self._stretches[chain]
        self.used_blocks -= held_stop - held_start
        if start < stop:
            self._stretches[chain] = (start, stop)
            self.used_blocks += stop - start
        else:
            del self._stretches[chain]
