"""One memory tier: which blocks of which contents it holds, least recently used first.

As in the block pool, blocks that lie side by side are kept as one stretch, so that what happens to a context costs
the same however long it is. A content (`Chain`) is used as a whole and loses its tail first, as in vLLM's own tier
(`vllm/v1/kv_offload/cpu/policies/lru.py`), so a tier holds at most one stretch of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from continuum_sim.engine.block_pool import Chain

_NOTHING: Final[Mapping[Chain, int]] = {}


class Stretch(NamedTuple):
    """Blocks [start, stop) of one content."""

    chain: Chain
    start: int
    stop: int

    @property
    def blocks(self) -> int:
        """How many."""
        return self.stop - self.start


class Tier:
    """Contents in order of their latest use."""

    def __init__(self, name: str, num_blocks: int) -> None:
        self.name = name
        self.num_blocks = num_blocks
        self.used_blocks = 0
        self.peak_used_blocks = 0
        self.written_blocks = 0
        """Blocks that came in from above, over the whole run."""
        self.read_blocks = 0
        """Blocks that went up again."""
        self._stretches: dict[Chain, tuple[int, int]] = {}
        self._held: dict[Chain, None] = {}

    @property
    def free_blocks(self) -> int:
        """Blocks that hold nothing."""
        return self.num_blocks - self.used_blocks

    @property
    def spare_blocks(self) -> int:
        """Blocks that hold nothing, or contents that nobody holds on to."""
        return self.num_blocks - sum(stop - start for start, stop in map(self.span, self._held))

    def hold(self, chain: Chain) -> None:
        """Evict this content after all that is not held."""
        self._held[chain] = None

    def let_go(self, chain: Chain) -> None:
        """Treat a content like any other again."""
        self._held.pop(chain, None)

    def span(self, chain: Chain) -> tuple[int, int]:
        """Blocks [start, stop) held of a content; (0, 0) if there are none."""
        return self._stretches.get(chain, (0, 0))

    def use(self, chain: Chain) -> None:
        """Make a content the one used last."""
        if chain in self._stretches:
            self._stretches[chain] = self._stretches.pop(chain)

    def put(self, chain: Chain, start: int, stop: int) -> None:
        """Hold blocks [start, stop) of a content as well, and make it the one used last; the caller made room.

        They must adjoin or overlap what the tier holds of it.
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
        """Forget a content from block `stop` on."""
        start, held_stop = self.span(chain)
        if stop < held_stop:
            self._resize(chain, start, stop)

    def keep_from(self, chain: Chain, start: int) -> None:
        """Forget a content up to block `start`."""
        held_start, stop = self.span(chain)
        if held_start < min(start, stop):
            self._resize(chain, start, stop)

    def make_room(self, blocks: int, spare: Mapping[Chain, int] = _NOTHING) -> list[Stretch]:
        """Forget the least recently used blocks until so many are free; returns them, tails first.

        Contents that are held go last.

        Of the contents in `spare` the blocks before the given one stay; the tier must be large enough for those and
        the new blocks together.
        """
        lost: list[Stretch] = []
        while (lack := blocks - self.free_blocks) > 0:
            chain = self._next_to_go(spare)
            start, stop = self._stretches[chain]
            start = max(start, spare.get(chain, 0), stop - lack)
            lost.append(Stretch(chain, start, stop))
            self.keep_to(chain, start)
        return lost

    def _next_to_go(self, spare: Mapping[Chain, int]) -> Chain:
        """Least recently used content with blocks to lose: of those not held, else of those held."""
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
