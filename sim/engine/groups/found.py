"""What a look-up finds in all groups, and who hears of blocks that turns hit and free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from continuum_sim.engine.groups.lookup import Stretches
from continuum_sim.engine.groups.table import BandTable
from continuum_sim.engine.request import Request


class SeesBlocks(Protocol):
    """Hears of blocks that turns hit as they are admitted, and of those that they free, just before."""

    def blocks_hit(self, request: Request, table: BandTable) -> None:
        """Called with the blocks that a turn hits."""

    def blocks_freed(self, request: Request, table: BandTable, stop: int, *, later: bool = False) -> None:
        """Called before a turn's blocks up to `stop` are freed, or taken from it to be freed later."""


class Found:
    """The longest prefix that all groups have cached of one context."""

    __slots__ = ("by_band", "hit_tokens", "junction_tokens", "stops", "tokens")

    def __init__(self, by_band: Sequence[Stretches], stops: Sequence[int], tokens: int, junction_tokens: int) -> None:
        self.by_band = by_band
        """The stretches that a hit takes of each band."""
        self.stops = stops
        """Leading blocks in each band's groups that need not be computed."""
        self.tokens = self.hit_tokens = tokens
        """Of these, `hit_tokens` are cached; the rest is loaded."""
        self.junction_tokens = junction_tokens
        """Tokens that some group has cached, if another has fewer; 0 if all agree (`shared_prefix_boundary`)."""

    def stretches(self) -> Stretches:
        """Return the stretches of all bands."""
        return [stretch for stretches in self.by_band for stretch in stretches]
