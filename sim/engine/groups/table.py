"""The blocks that one turn holds in adjacent groups of one spec, which take and free blocks together."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.engine.chain import BlockRun
from continuum_sim.engine.groups.spec import GroupSpec

Spans = list[tuple[int, int]]
"""Stretches of blocks [start, stop)."""


class Band:
    """Adjacent groups of one spec."""

    __slots__ = ("groups", "most_blocks", "spec", "width")

    def __init__(self, spec: GroupSpec, groups: range, most_blocks: int | None) -> None:
        self.spec = spec
        self.groups = groups
        self.width = len(groups)
        self.most_blocks = most_blocks
        """Most blocks of each that a turn needs at once; None for no limit."""

    def open_table(self) -> BandTable:
        """Return an empty table."""
        return StateTable(self) if self.spec.kind == "recurrent" else BandTable(self)


class BandTable:
    """The blocks that a turn holds in each group of a band: [first, stop), of which `runs` have content."""

    __slots__ = ("band", "cached", "first", "runs", "stop")

    def __init__(self, band: Band) -> None:
        self.band = band
        self.first = 0
        self.stop = 0
        self.cached = 0
        """Leading blocks that are cached, or will never be."""
        self.runs: list[list[BlockRun]] = [[] for _ in range(band.width)]

    def begin(self, stop: int, hit_tokens: int) -> None:
        """Hold what a hit takes of blocks before `stop`; their runs are there already."""
        self.cached = self.stop = stop
        self.first = min(self.band.spec.skipped_blocks(hit_tokens), stop)

    def blocks(self) -> int:
        """Return the blocks held in each group."""
        return self.stop - self.first

    def blank(self, group: int) -> int:
        """Return the blocks of a group without content."""
        return self.blocks() - sum([len(run) for run in self.runs[group]])

    def missing(self, start: int, tokens: int, prefill_end: int) -> int:
        """Return the blocks that each group lacks to compute tokens [start, tokens), all before being there."""
        return self.band.spec.missing_blocks(self.stop, start, tokens, prefill_end)

    def lacking(self, start: int, tokens: int, prefill_end: int) -> int:
        """Return the blocks that each group lacks for all tokens of a turn which has computed those before `start`."""
        return self.band.spec.missing_blocks(self.stop, start, tokens, prefill_end)

    def extend(self, tokens: int) -> int:
        """Hold the blocks for so many tokens; return how many states are copied in each group."""
        self.stop = max(self.stop, -(-tokens // self.band.spec.block_size))
        return 0

    def drop_before(self, stop: int) -> int:
        """Hold no block before `stop`; return how many that were in each group."""
        dropped = stop - self.first
        self.first = stop
        return dropped

    def held(self, spans: Sequence[tuple[int, int]]) -> Spans:
        """Return what the table holds of these stretches."""
        return [(max(start, self.first), stop) for start, stop in spans if stop > self.first]


class StateTable(BandTable):
    """Blocks with states of recurrent layers: one where each step of the turn ended, and the one it goes on from."""

    __slots__ = ("_checkpoint", "states")

    def __init__(self, band: Band) -> None:
        super().__init__(band)
        self.states: list[int] = []
        """Indices of the blocks held, in order; those in between hold nothing (vLLM's null block)."""
        self._checkpoint = False
        """Whether the step to come also saves the state at the last block boundary of its prompt."""

    def begin(self, stop: int, hit_tokens: int) -> None:
        """Hold the state that a hit goes on from."""
        super().begin(stop, hit_tokens)
        self.states = [stop - 1] if stop > self.first else []  # else what is loaded takes its place

    def blocks(self) -> int:
        """Return the states held in each group."""
        return len(self.states)

    def missing(self, start: int, tokens: int, prefill_end: int) -> int:
        """Return the blocks that each group lacks, and remember whether one is for a state saved on the way."""
        missing = super().missing(start, tokens, prefill_end)
        self._checkpoint = missing > 1
        return missing

    def lacking(self, start: int, tokens: int, prefill_end: int) -> int:
        """Return the blocks that each group lacks; none to save a state if the step under way leaves one there."""
        missing = super().lacking(start, tokens, prefill_end)
        return min(missing, 1) if -(-tokens // self.band.spec.block_size) - 2 in self.states else missing

    def extend(self, tokens: int) -> int:
        """Hold the state after so many tokens; return how many are copied in each group."""
        needed = -(-tokens // self.band.spec.block_size)
        if needed <= self.stop:
            return 0
        copied = bool(self.states)
        self.states += [needed - 2, needed - 1] if self._checkpoint else [needed - 1]
        self.stop = needed
        return int(copied)

    def drop_before(self, stop: int) -> int:
        """Hold no state before `stop`; return how many that were in each group."""
        kept = [block for block in self.states if block >= stop]
        dropped = len(self.states) - len(kept)
        self.states, self.first = kept, stop
        return dropped

    def held(self, spans: Sequence[tuple[int, int]]) -> Spans:
        """Return the states in these stretches."""
        return [(block, block + 1) for block in self.states if any(start <= block < stop for start, stop in spans)]
