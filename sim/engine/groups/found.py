"""What a look-up finds in all groups, and who hears of blocks that turns hit and free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from continuum_sim.engine.groups.lookup import Content, Stretches
from continuum_sim.engine.groups.pool import GroupedBlockPool
from continuum_sim.engine.groups.table import Band, BandTable
from continuum_sim.engine.request import Request


class SeesBlocks(Protocol):
    """Hears of blocks that turns hit as they are admitted, and of those that they free, just before."""

    def blocks_hit(self, request: Request, table: BandTable) -> None:
        """Called with the blocks that a turn hits."""

    def blocks_freed(self, request: Request, table: BandTable, stop: int, *, later: bool = False) -> None:
        """Called before a turn's blocks up to `stop` are freed, or taken from it to be freed later."""


class Found:
    """The longest prefix that all groups have cached of one context."""

    __slots__ = ("by_band", "counted_by_band", "hit_tokens", "junction_tokens", "stops", "tokens")

    def __init__(self, by_band: Sequence[Stretches], stops: Sequence[int], tokens: int, junction_tokens: int) -> None:
        self.by_band = self.counted_by_band = by_band
        """The stretches that a hit takes of each band, and those that room is reckoned with."""
        self.stops = stops
        """Leading blocks in each band's groups that need not be computed."""
        self.tokens = self.hit_tokens = tokens
        """Of these, `hit_tokens` are cached; the rest is loaded."""
        self.junction_tokens = junction_tokens
        """Tokens that some group has cached, if another has fewer; 0 if all agree (`shared_prefix_boundary`)."""

    def stretches(self) -> Stretches:
        """Return the stretches of all bands that room is reckoned with."""
        return [stretch for stretches in self.counted_by_band for stretch in stretches]

    def followed_by_loads(self, bands: Sequence[Band], tokens: int) -> Found:
        """Return what is taken if loads up to so many tokens follow, but for what then lies behind a window."""
        skips = [band.spec.skipped_blocks(tokens) for band in bands]
        taken = [
            [(run, max(start, skipped), stop) for run, start, stop in stretches if stop > skipped]
            for stretches, skipped in zip(self.by_band, skips, strict=True)
        ]
        stops = [max(stop, skipped) for stop, skipped in zip(self.stops, skips, strict=True)]
        loaded = Found(taken, stops, tokens, self.junction_tokens)
        loaded.hit_tokens = self.tokens
        loaded.counted_by_band = [
            before if band.spec.kind == "recurrent" else after
            for band, before, after in zip(bands, self.by_band, taken, strict=True)
        ]
        return loaded

    def find_again(self, contents: Sequence[Content], pool: GroupedBlockPool) -> None:
        """Find the same blocks once more: their runs come apart if groups are freed one after another."""
        same = self.counted_by_band is self.by_band
        self.by_band = [_find(*one, pool) for one in zip(contents, self.by_band, strict=True)]
        counted = self.by_band
        if not same:
            counted = [_find(*one, pool) for one in zip(contents, self.counted_by_band, strict=True)]
        self.counted_by_band = counted


def _find(content: Content, found: Stretches, pool: GroupedBlockPool) -> Stretches:
    if not found:
        return []
    return content.find(min([start for _, start, _ in found]), max([stop for _, _, stop in found]), pool)
