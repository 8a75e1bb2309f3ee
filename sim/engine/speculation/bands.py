"""The blocks that a turn with drafts holds in groups of one spec: slots for the drafter, or a state for each draft."""

from __future__ import annotations

from continuum_sim.engine.groups.table import Band, BandTable, StateTable


class DraftedBand(Band):
    """Adjacent groups of one spec of an engine with drafts.

    Drafters have no recurrent layers, so they write no slots there; each draft leaves a state, which takes a block
    beside the latest one (`MambaSpec.num_speculative_blocks`).
    """

    __slots__ = ("_lookahead", "_max_model_len")

    def __init__(
        self, band: Band, *, drafts: int, lookahead_tokens: int, max_model_len: int, drops: bool, steps_back: bool
    ) -> None:
        """Take a band of an engine without drafts."""
        super().__init__(band.spec, band.groups, band.most_blocks)
        self.drops = drops
        self.steps_back = steps_back
        self._lookahead = lookahead_tokens
        self._max_model_len = max_model_len
        if band.spec.kind == "recurrent":
            self.spare_blocks = drafts
            self._lookahead = 0

    def slots(self, tokens: int) -> int:
        """Return the tokens that a step which ends with so many needs slots for."""
        return min(tokens + self._lookahead, self._max_model_len)

    def missing_in_step(self, held: int, start: int, tokens: int, prefill_end: int) -> int:
        """Return the blocks that each group lacks for a first step of tokens [start, tokens) and its drafts."""
        return self.missing(held, start, self.slots(tokens) if tokens else 0, prefill_end)

    def open_table(self) -> BandTable:
        """Return an empty table."""
        return DraftedStates(self) if self.spec.kind == "recurrent" else DraftedTable(self)


class DraftedTable(BandTable):
    """The blocks of a turn with those that its drafter writes to."""

    __slots__ = ("_drafted",)

    def __init__(self, band: DraftedBand) -> None:
        super().__init__(band)
        self._drafted = band

    def missing(self, start: int, tokens: int, prefill_end: int) -> int:
        """Return the blocks that each group lacks to compute tokens [start, tokens) and to draft."""
        return super().missing(start, self._drafted.slots(tokens), prefill_end)

    def extend(self, tokens: int) -> int:
        """Hold the blocks for so many tokens and the drafter's; return how many states are copied in each group."""
        return super().extend(self._drafted.slots(tokens))


class DraftedStates(StateTable):
    """The states of a turn, and blocks for those of the drafts, which follow the latest one."""

    __slots__ = ("_drafted", "_runs", "saved")

    def __init__(self, band: DraftedBand) -> None:
        super().__init__(band)
        self._drafted = band
        self.saved = -1
        """The block of the state that the latest step saves on the way; -1 if it saves none."""
        self._runs = False
        """Whether it has the blocks for drafts, which it keeps."""

    def blocks(self) -> int:
        """Return the states held in each group, and those of drafts."""
        return len(self.states) + (self._drafted.spare_blocks if self._runs else 0)

    def missing(self, start: int, tokens: int, prefill_end: int) -> int:
        """Return the blocks that each group lacks, and remember whether one is for a state saved on the way."""
        band = self._drafted
        missing = band.missing(self.stop, start, tokens, prefill_end)
        self._checkpoint = missing > 1
        return missing if self._runs else missing + band.spare_blocks

    def extend(self, tokens: int) -> int:
        """Hold the state after so many tokens; return how many are copied in each group."""
        self._runs = True
        saves = self._checkpoint and -(-tokens // self.band.spec.block_size) > self.stop
        copied = super().extend(tokens)
        self.saved = -1
        if saves:
            if self._drafted.steps_back and tokens % self.band.spec.block_size:
                self.states[-2] -= 1  # that of the block before it
            self.saved = self.states[-2]
        return copied
