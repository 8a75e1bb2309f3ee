"""Blocks that a turn has freed behind its windows before host memory took them: they can be stored until used again.

vLLM's connector keeps the numbers of a turn's blocks, and strikes out those that any request takes
(`_update_req_states`). It does so also with blocks that the turn still holds, if another one hits them.
"""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.engine.block_pool import BlankMark, BlockPool
from continuum_sim.engine.chain import BlockRun, Chain
from continuum_sim.engine.groups.table import BandTable

Taken = tuple[int, Chain, int, int, int]
"""Blocks that a turn hits as it is admitted: group, content, from block, to block, stamp of their copy."""


class FreedBlocks:
    """Of one turn: the blocks of each group that may still be stored although it has freed them, and those gone."""

    def __init__(self, groups: int) -> None:
        self.gone: list[set[int]] = [set() for _ in range(groups)]
        """By group: blocks that have been used again."""
        self._stops = [0] * groups
        """By group: end of the blocks that the turn held when the last step was planned."""
        self._cached: dict[tuple[int, int], tuple[Chain, int]] = {}
        """By group and block: content and stamp of the copy, if it could be hit when it was freed."""
        self._blank: dict[tuple[int, int], BlankMark] = {}
        """By group and block: its place at the front of the free queue, if it could not."""

    def freed(
        self, table: BandTable, pending: Sequence[int], stop: int, pool: BlockPool, *, later: bool = False
    ) -> None:
        """Note what is about to be freed of a table before block `stop`.

        Parameters
        ----------
        pending
            By group: first block that is yet to be stored.
        later
            True if they are only taken from the turn: until they are freed no other is given those without content.
        """
        height = pool.blank
        for group in table.band.groups:
            copies = {}
            for run in table.runs:
                if run.chain is not None and run.group <= group < run.group + run.width:
                    for block in range(max(run.start, table.first), min(run.stop, stop)):
                        copies[block] = (run.chain, run.stamp)
            for block in range(table.first, stop):
                if block in copies:
                    if block >= pending[group]:
                        self._cached[group, block] = copies[block]
                    continue
                if block >= pending[group] and not later:
                    self._blank[group, block] = pool.mark_blank(height)
                height += 1

    def strike_out(self, taken: Sequence[Taken], pool: BlockPool) -> None:
        """Find out which of them have been used again, evicted or hit."""
        for (group, block), (chain, stamp) in list(self._cached.items()):
            hit = any(
                chain is content and stamp == copy and start <= block < stop for _, content, start, stop, copy in taken
            )
            if hit or not _there(chain, stamp, group, block, pool):
                self.gone[group].add(block)
                del self._cached[group, block]
        for (group, block), mark in list(self._blank.items()):
            if mark.gone:
                self.gone[group].add(block)
                del self._blank[group, block]

    def strike_out_held(self, table: BandTable, pending: Sequence[int], taken: Sequence[Taken]) -> None:
        """Strike out what the turn holds and another has hit."""
        for group, chain, start, stop, stamp in taken:
            if group not in table.band.groups or stop <= pending[group]:
                continue
            for run in table.runs:
                if run.chain is chain and run.stamp == stamp and run.group <= group < run.group + run.width:
                    first, last = max(start, run.start, pending[group]), min(stop, run.stop, self._stops[group])
                    self.gone[group].update(range(first, last))

    def note_held(self, tables: Sequence[BandTable]) -> None:
        """Note what the turn holds once a step is planned: what it has been given in it is not struck out."""
        for table in tables:
            for group in table.band.groups:
                self._stops[group] = table.stop


def _there(chain: Chain, stamp: int, group: int, block: int, pool: BlockPool) -> bool:
    """Return whether a copy of a block is still in the queue, perhaps forgotten since its program's next prompt."""

    def has_it(run: BlockRun) -> bool:
        return run.stamp == stamp and run.group <= group < run.group + run.width and run.start <= block < run.stop

    return any(has_it(run) for run in chain.from_block(block)) or any(
        has_it(run) for run in pool.queued() if run.chain is None
    )
