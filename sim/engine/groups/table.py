"""The blocks that one turn holds in adjacent groups of one spec, which take and free blocks together."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.engine.chain import BlockRun, Chain, WindowChain
from continuum_sim.engine.decoding import NEVER
from continuum_sim.engine.groups.spec import GroupSpec

Spans = list[tuple[int, int]]
"""Stretches of blocks [start, stop)."""


class Band:
    """Adjacent groups of one spec."""

    __slots__ = ("drops", "groups", "most_blocks", "spare_blocks", "spec", "steps_back", "width")

    def __init__(self, spec: GroupSpec, groups: range, most_blocks: int | None) -> None:
        self.spec = spec
        self.groups = groups
        self.width = len(groups)
        self.most_blocks = most_blocks
        """Most blocks of each that a turn needs at once; None for no limit."""
        self.drops = False
        """Whether the last block of a hit is computed again for a drafter (`is_eagle_group`)."""
        self.spare_blocks = 0
        """Blocks of each that a turn holds beside those for its tokens."""
        self.steps_back = False
        """Whether states are saved a block earlier, as some group computes the last block of a hit again."""

    def missing(self, held: int, start: int, tokens: int, prefill_end: int) -> int:
        """Return the blocks that each group lacks for tokens [start, tokens) of a turn that hits `held` of them."""
        return self.spec.missing_blocks(held, start, tokens, prefill_end, steps_back=self.steps_back)

    def missing_in_step(self, held: int, start: int, tokens: int, prefill_end: int) -> int:
        """Return those that it lacks if these are the tokens of its first step."""
        return self.missing(held, start, tokens, prefill_end)

    def open_chain(self) -> Chain:
        """Return empty content."""
        if self.width == 1 and not self.spec.frees:
            return Chain(self.groups[0])
        return WindowChain(self.groups[0], self.width)

    def open_table(self) -> BandTable:
        """Return an empty table."""
        return StateTable(self) if self.spec.kind == "recurrent" else BandTable(self)


class BandTable:
    """The blocks that a turn holds in each group of a band: [first, stop), of which `runs` have content."""

    __slots__ = ("band", "cached", "first", "runs", "slides", "stop", "trails")

    def __init__(self, band: Band) -> None:
        self.band = band
        self.first = 0
        self.stop = 0
        self.cached = 0
        """Leading blocks that are cached, or will never be."""
        self.runs: list[BlockRun] = []
        self.slides = False
        """Whether the turn slides evenly and frees the first block once in so many steps as a block has tokens."""
        self.trails = False
        """Whether these blocks have content."""

    def begin(self, stop: int, hit_tokens: int) -> None:
        """Hold what a hit takes of blocks before `stop`; their runs are there already."""
        self.cached = self.stop = stop
        self.first = min(self.band.spec.skipped_blocks(hit_tokens), stop)

    def blocks(self) -> int:
        """Return the blocks held in each group."""
        return self.stop - self.first

    def blank(self) -> int:
        """Return the blocks of all groups without content."""
        blocks = self.blocks() * self.band.width
        for run in self.runs:
            blocks -= (run.stop - run.start) * run.width
        return blocks

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

    # Even slides ----------------------------------------------------------------------------------------

    def slides_until(self, tokens: int, over: int, own: Chain) -> int:
        """Return for how many steps the table slides evenly; 0 if it does not.

        Parameters
        ----------
        tokens
            The tokens of the turn that are computed before the next step, one in each.
        over
            Those of them that do not belong to steps under way.
        own
            The content that only this turn's program has.
        """
        self.slides = self.trails = False
        spec = self.band.spec
        if self.stop != -(-tokens // spec.block_size) or not self._even():
            return 0
        if not spec.frees:
            return NEVER
        if spec.kind == "chunked":
            late = spec.skipped_blocks(over) > self.first
            return 0 if late else spec.window - over % spec.window
        wait = self.steps_to_free(over, self.first)
        if wait < 0:
            return 0
        if wait >= spec.block_size:
            return wait
        run = self.run_at(self.first)
        if run is None:
            self.slides = True
            return NEVER
        if run.start > self.first:
            self.slides = True
            return self.steps_to_free(over, run.start)
        if run.chain is not own or run.refs > 1 or run.width < self.band.width:
            return 0
        self.slides = self.trails = True
        return self.steps_to_free(over, run.stop)

    def _even(self) -> bool:
        return True

    def steps_to_free(self, over: int, block: int) -> int:
        """Return after how many steps a block behind a window is freed; see `slides_until` for `over`."""
        return (block + 1) * self.band.spec.block_size + self.band.spec.reach - 1 - over

    def slide_to(self, tokens: int, over: int) -> None:
        """Hold what a turn does that has slid evenly until it had `tokens` tokens, `over` before its last step."""
        spec = self.band.spec
        self.stop = -(-tokens // spec.block_size)
        self.first = max(self.first, min(spec.skipped_blocks(over), self.stop))

    def run_at(self, block: int) -> BlockRun | None:
        """Return the first run with a block from this one on."""
        found = None
        for run in self.runs:
            if run.stop > block and (found is None or run.start < found.start):
                found = run
        return found

    # Content --------------------------------------------------------------------------------------------

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

    def _even(self) -> bool:
        return not self.runs and self.states == list(range(self.first, self.stop))

    def slide_to(self, tokens: int, over: int) -> None:
        """Hold what a turn does that has slid evenly until it had `tokens` tokens, `over` before its last step."""
        super().slide_to(tokens, over)
        self.states = list(range(self.first, self.stop))

    def held(self, spans: Sequence[tuple[int, int]]) -> Spans:
        """Return the states in these stretches."""
        return [(block, block + 1) for block in self.states if any(start <= block < stop for start, stop in spans)]
