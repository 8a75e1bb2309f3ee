"""Decoding turns whose windows slide evenly: what they take and free is counted, not carried out block by block.

In each group such a turn takes a block every `block_size` steps, and behind a window or state it frees one as often.
With a prefix-cache retention interval of 0, the default, what it frees is either blank or was cached with its prompt.
The latter leaves the turn's run from the front on, and enters the free queue at steps that are known in advance
(`GroupedBlockPool.trail`). So any number of steps costs the same as one.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from continuum_sim.engine.decoding import NEVER
from continuum_sim.engine.groups.table import Band, BandTable
from continuum_sim.engine.request import Request

Flow = tuple[int, int, int, int]
"""Blocks of all groups that turns take, free with content, and free blank, and states copied, in some steps."""


class Slides:
    """The turns of a batch that slide evenly, by the residue of the step counter at which each takes or frees."""

    def __init__(self, block_size: int, bands: Sequence[Band], in_flight_tokens: int) -> None:
        """Start empty.

        Parameters
        ----------
        in_flight_tokens
            Tokens of a decoding turn in steps that are not over when the next one is planned.
        """
        self.tables: dict[Request, Sequence[BandTable]] = {}
        self._size = block_size
        self._in_flight = in_flight_tokens
        recurrent = sum(band.width for band in bands if band.spec.kind == "recurrent")
        self._takes: Flow = (sum(band.width for band in bands), 0, 0, recurrent)
        self._frees: dict[tuple[int, bool], Flow] = {
            (band.width, trails): (0, band.width, 0, 0) if trails else (0, 0, band.width, 0)
            for band in bands
            for trails in (False, True)
        }
        """By groups, and whether what is freed has content."""
        self._since: dict[Request, int] = {}
        """The step counter from which on each turn is counted."""
        self._residues: dict[Request, list[int]] = {}
        self._flows = [[0] * (2 * block_size) for _ in range(4)]
        """Of each kind, the blocks by residue, twice over."""
        self._sums = [0] * 4
        self._turns: list[dict[Request, Flow]] = [{} for _ in range(block_size)]
        """By residue: those of each turn."""
        self._ends: list[tuple[int, int, Request]] = []
        """Heap of (step counter until which a turn slides evenly, rank of admission, turn); some are stale."""
        self._until: dict[Request, int] = {}
        self.first_end = NEVER
        """The first value of the counter at which some turn no longer slides evenly."""

    def __contains__(self, request: Request) -> bool:
        return request in self.tables

    def add(self, request: Request, tables: Sequence[BandTable], counter: int, until: int) -> None:
        """Count a turn from this value of the step counter on."""
        self.tables[request] = tables
        self._since[request] = counter
        self._until[request] = until
        if until < NEVER:
            heapq.heappush(self._ends, (until, request.rank, request))
            self.first_end = min(self.first_end, until)
        size, offset = self._size, request.offset
        flows = {-offset % size: self._takes}
        for table in tables:
            if table.slides:
                residue = (table.band.spec.reach - 1 + self._in_flight - offset) % size
                flow = self._frees[table.band.width, table.trails]
                flows[residue] = _sum(flows[residue], flow) if residue in flows else flow
        for residue, flow in flows.items():
            self._turns[residue][request] = flow
            self._change(residue, flow, 1)
        self._residues[request] = list(flows)

    def _change(self, residue: int, flow: Flow, sign: int) -> None:
        for what, blocks in enumerate(flow):
            if blocks:
                change = sign * blocks
                self._sums[what] += change
                by_residue = self._flows[what]
                by_residue[residue] += change
                by_residue[residue + self._size] += change

    def remove(self, request: Request, counter: int) -> Sequence[BandTable]:
        """Stop counting a turn, all steps before this value of the counter being planned; bring its tables up to date.

        Their runs are left to the caller.
        """
        tables = self.tables.pop(request)
        if self._until.pop(request) == self.first_end < NEVER:
            self._find_first_end()
        for residue in self._residues.pop(request):
            self._change(residue, self._turns[residue].pop(request), -1)
        if counter > self._since.pop(request):
            computed = counter + request.offset
            for table in tables:
                table.slide_to(computed, computed - 1 - self._in_flight)
        return tables

    def within(self, start: int, stop: int) -> Flow:
        """Return what turns take and free in the steps [start, stop) of the counter."""
        taken, freed, blank, copied = self._flows
        first = start % self._size
        if stop - start == 1:
            return taken[first], freed[first], blank[first], copied[first]
        rounds, rest = divmod(stop - start, self._size)
        last = first + rest
        all_taken, all_freed, all_blank, all_copied = self._sums
        return (
            sum(taken[first:last]) + rounds * all_taken,
            sum(freed[first:last]) + rounds * all_freed if all_freed else 0,
            sum(blank[first:last]) + rounds * all_blank if all_blank else 0,
            sum(copied[first:last]) + rounds * all_copied if all_copied else 0,
        )

    def evicted(self, start: int, stop: int, blank: int) -> int:
        """Return how many blocks the steps [start, stop) evict if there are so many blank ones before."""
        taken, _, freed_blank, _ = self._flows
        evicted = 0
        for counter in range(start, stop):
            residue = counter % self._size
            takes, frees = taken[residue], freed_blank[residue]
            if takes > blank and frees:  # then it depends on who comes first
                for _, (one_takes, _, one_frees, _) in sorted(self._turns[residue].items(), key=_rank):
                    blank += one_frees - one_takes
                    if blank < 0:
                        evicted -= blank
                        blank = 0
            elif takes or frees:
                blank += frees - takes
                if blank < 0:
                    evicted -= blank
                    blank = 0
        return evicted

    def most_used(self, start: int, stop: int) -> int:
        """Return the most blocks by which what turns hold has grown after some step of [start, stop)."""
        size, (taken, freed, blank, _) = self._size, self._flows
        rounds = max(0, (stop - start) // size - 1)
        used = rounds * (self._sums[0] - self._sums[1] - self._sums[2])  # which is not below 0
        most = 0
        for counter in range(start + rounds * size, stop):
            residue = counter % size
            used += taken[residue] - freed[residue] - blank[residue]
            most = max(most, used)
        return most

    def turns_at(self, counter: int) -> list[tuple[Request, Flow]]:
        """Return the turns that take or free in a step, and what."""
        return list(self._turns[counter % self._size].items())

    def ending(self) -> Request:
        """Return the turn that is the first to slide no longer evenly."""
        return self._ends[0][2]

    def _find_first_end(self) -> None:
        while self._ends and self._until.get(self._ends[0][2]) != self._ends[0][0]:
            heapq.heappop(self._ends)
        self.first_end = self._ends[0][0] if self._ends else NEVER


def _sum(one: Flow, other: Flow) -> Flow:
    return one[0] + other[0], one[1] + other[1], one[2] + other[2], one[3] + other[3]


def _rank(entry: tuple[Request, Flow]) -> int:
    return entry[0].rank
