"""The blocks that steps take and free: of turns that slide evenly all at once, of others turn by turn."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import groupby
from typing import Final

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.decoding import NEVER
from continuum_sim.engine.groups.due import DueTurns
from continuum_sim.engine.groups.lookup import Content
from continuum_sim.engine.groups.pool import GroupedBlockPool
from continuum_sim.engine.groups.slides import Flow, Slides
from continuum_sim.engine.groups.table import Band, BandTable
from continuum_sim.engine.kv_cache_manager import KVCacheManager
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Context, Request

Work = tuple[Request, int, int, int]
"""A turn, what it has computed, what it computes in a step, and what of the former belongs to steps under way."""

_STEP_SHIFT: Final = 48
_RANK_SHIFT: Final = 12


class GroupedContext(Context):
    """Where the parts of a program's context are that the groups keep."""

    __slots__ = ("contents", "sliding")

    def __init__(self, contents: Sequence[Content]) -> None:
        super().__init__()
        self.contents = contents
        self.sliding: Request | None = None
        """The program's turn, if it slides evenly: what it holds and has freed is not recorded meanwhile."""


class SteppedKVCacheManager(KVCacheManager):
    """Takes and frees the blocks of steps, in vLLM's order."""

    grouped = True

    def __init__(self, pool: GroupedBlockPool, config: EngineConfig) -> None:
        super().__init__(pool, config.block_size, caches=config.enable_prefix_caching)
        self.pool = pool
        self.specs = specs = config.kv_cache_groups
        self._alignment = alignment = math.lcm(*(spec.block_size for spec in specs))
        self._least_size = min(spec.block_size for spec in specs)
        native = config.tiers if config.tiers is not None and config.tiers.native else None
        recurrent = any(spec.kind == "recurrent" for spec in specs)
        follows = recurrent and native is not None and not native.offload_prompt_only
        self._lags = follows or any(spec.block_size != alignment for spec in specs)
        """Whether blocks may be full before they can be hit, or are to be cached in the very step that fills them."""
        self.retention_interval = config.prefix_cache_retention_interval
        self._sparse = self.retention_interval == 0
        """Whether of windows and states nothing can be found that lies behind the end of a prompt."""
        self._in_flight = config.max_concurrent_batches - 1
        """Tokens of a decoding turn in steps that are not over when the next one is planned."""
        self.bands: list[Band] = []
        for spec, numbers in groupby(range(len(specs)), key=specs.__getitem__):
            together = list(numbers)
            most = spec.most_blocks(config.max_in_flight_tokens, config.max_model_len, ahead=config.async_scheduling)
            self.bands.append(Band(spec, range(together[0], together[-1] + 1), most))
        self.due = self._due = DueTurns(specs, alignment, self._leaves, ahead=config.async_scheduling, fills=follows)
        self._even = not self._lags and native is None and (self._sparse or not any(spec.reach for spec in specs))
        """Whether turns slide evenly at all; native offload hears of every block that is freed."""
        self._slides = Slides(alignment, self.bands, self._in_flight)
        self._candidates: dict[Request, None] = {}
        """Turns that may slide evenly from the next step on."""
        self._next = 0
        """The step counter when the next step is planned, unless something comes in between."""
        self._steps = 0
        """Steps planned, also empty ones: the pool's time."""
        self.most_freed_by_sliding = sum([spec.most_freed_by_sliding for spec in specs])
        self._saves = self._sparse and any(spec.checkpoints for spec in specs)
        """Whether a state inside a step is saved at the end of a prompt only."""
        self.tables: dict[Request, list[BandTable]] = {}

    def take_step(self, batch: Batch, chunks: Sequence[tuple[Request, int]], ahead: Plan | None) -> bool:
        """Take and free the blocks of a step in vLLM's order, if all it takes are free before it.

        If not, vLLM's own loop, turn by turn, finds what is free when.
        """
        counter = batch.decoding.counter
        self._begin(counter, in_flight=ahead is not None)
        due = self._due.now(counter, in_flight=ahead is not None)
        if not (due or chunks):
            return self._glide(counter, counter + 1)
        steps: list[Work] = []
        for request, tokens in sorted([*[(request, 1) for request in due], *chunks], key=_rank):
            in_flight = 0 if ahead is None else ahead.tokens_in_flight(request)
            steps.append((request, batch.computed(request), tokens, in_flight))
        return self._take(counter, steps)

    def blocks_of_steps(self, batch: Batch, plan: Plan, steps: int) -> int:
        """Return the blocks that `steps` more steps, in which turns only decode, take if they free none."""
        return self._due.blocks(batch.decoding.counter, steps)

    def take_steps(self, batch: Batch, plan: Plan, steps: int) -> None:
        """Take and free the blocks of these steps in vLLM's order."""
        at = batch.decoding.counter
        stop = at + steps
        while at < stop:
            self._begin(at, in_flight=True)
            until = self._due.first_within(at, min(self._slides.first_end, stop))
            if until > at:
                self._glide(at, until)
                at = until
            else:
                due = self._due.now(at, in_flight=True)
                self._take(at, [(request, at + request.offset, 1, self._in_flight) for request in due])
                self.note_peak()
                at += 1

    def _begin(self, counter: int, *, in_flight: bool) -> None:
        """Let turns slide evenly from this step on that do; and no longer those that cease to."""
        if counter != self._next or not (in_flight or not self._in_flight):
            self.one_by_one()
        self._next = counter
        while self._slides.first_end <= counter:
            self._stop(self._slides.ending())
        if self._candidates:
            for request in [one for one in self._candidates if not self._due.settles(one)]:
                del self._candidates[request]
                self._slide(request, counter)

    def _slide(self, request: Request, counter: int) -> None:
        """Let a turn slide evenly from this step on, if it does."""
        tables, tokens = self.tables[request], counter + request.offset
        context, over, steps = request.context, tokens - self._in_flight, NEVER
        assert isinstance(context, GroupedContext)
        if context.sliding is not None:
            return
        for table, content in zip(tables, context.contents, strict=True):
            steps = min(steps, table.slides_until(tokens, over, content.own))
        if not steps:
            return
        self._due.unwatch(request)
        self._slides.add(request, tables, counter, counter + steps)
        context.sliding = request
        for table in tables:
            run = table.run_at(table.first) if table.trails else None
            if run is not None:
                first = self._time(table.steps_to_free(over, table.first), request.rank, run.group)
                self.pool.trail(run, first, self._alignment << _STEP_SHIFT)

    def _stop(self, request: Request) -> None:
        """Let a turn no longer slide evenly, and bring its tables up to date."""
        self._bring_up_to_date(request)
        self._due.watch(request)
        self._candidates[request] = None

    def _bring_up_to_date(self, request: Request) -> None:
        context = request.context
        assert isinstance(context, GroupedContext)
        context.sliding = None
        for table in self._slides.remove(request, self._next):
            if table.trails:
                for run in [run for run in table.runs if run.pitch]:
                    self.pool.end_trail(run, table.first)

    def _leaves(self, request: Request) -> bool:
        """Bring the tables up to date of a turn that leaves the batch; return whether it slid evenly."""
        self._candidates.pop(request, None)
        if request not in self._slides:
            return False
        self._bring_up_to_date(request)
        return True

    def one_by_one(self) -> None:
        """Let no turn slide evenly any more: a step is planned turn by turn, or follows one that planned nothing."""
        for request in list(self._slides.tables):
            self._stop(request)
        self._planned(1)
        self._next = -1

    def _time(self, steps: int, rank: int = -1, group: int = 0) -> int:
        """Return the pool's time when a turn is planned, so many steps from the next one on."""
        return ((self._steps + steps) << _STEP_SHIFT) + ((rank + 1) << _RANK_SHIFT) + group

    def _glide(self, start: int, stop: int) -> bool:
        """Take and free the blocks of turns that slide evenly in the steps [start, stop) of the counter.

        Returns False if not all that is taken is free before.
        """
        pool, flow = self.pool, self._slides.within(start, stop)
        taken, freed, freed_blank, _ = flow
        if taken > pool.free:
            return False
        if taken or freed or freed_blank:
            used = pool.num_blocks - pool.free
            if used + taken > self.peak_used_blocks:
                self.peak_used_blocks = max(self.peak_used_blocks, used + self._slides.most_used(start, stop))
            evicted = taken - pool.blank
            if evicted > 0 and freed_blank:
                evicted = self._slides.evicted(start, stop, pool.blank)
            self._count(flow, max(0, evicted))
        self._planned(stop - start)
        return True

    def _planned(self, steps: int) -> None:
        self._next += steps
        self._steps += steps
        self.pool.now = self._steps << _STEP_SHIFT

    def _count(self, flow: Flow, evicted: int) -> None:
        taken, freed, freed_blank, copied_states = flow
        self.pool.flow(taken, evicted, freed, freed_blank)
        self.freed_blocks += freed + freed_blank
        self.copied_states += copied_states

    def _take(self, counter: int, due: Sequence[Work]) -> bool:
        """Take and free the blocks of one step in vLLM's order, if all it takes are free before it.

        The turns that are `due` do not slide evenly; they are in order of admission.
        """
        pool, flow = self.pool, self._slides.within(counter, counter + 1)
        sliding_take, freed, freed_blank, _ = flow
        groups, size = len(self.specs), self._least_size
        taken = sliding_take + sum([(tokens // size + 2) * groups for _, _, tokens, _ in due])  # or fewer
        if taken > pool.free:
            taken = sliding_take
            for request, start, tokens, _ in due:
                prefill_end = self._prefill_end(request)
                for table in self.tables[request]:
                    taken += table.missing(start, start + tokens, prefill_end) * table.band.width
            if taken > pool.free:
                return False
        order: list[tuple[int, Flow, Work | None]]
        if taken > pool.blank and (due or freed_blank):  # what is evicted depends on what was freed before
            sliding = self._slides.turns_at(counter) if sliding_take or freed or freed_blank else []
            order = [(step[0].rank, flow, step) for step in due]
            order += [(request.rank, part, None) for request, part in sliding]
            order.sort(key=_first)
        else:
            order = [(0, flow, None), *[(0, flow, step) for step in due]]
        for _, part, step in order:
            if step is None:
                self._count(part, max(0, part[0] - pool.blank - part[2]))
                continue
            request, start, tokens, in_flight = step
            blocks = self.growth(request, start, tokens, in_flight)
            self.extend(request, start + tokens, blocks, in_flight)
            if self._even and request.decoding:
                self._candidates[request] = None
        self._planned(1)
        return True

    def _prefill_end(self, request: Request) -> int:
        """Return the end of a prompt if only there a state is saved inside a step, otherwise 0."""
        return 0 if not self._saves else max(request.prompt_tokens, request.num_tokens - 1)


def _rank(entry: tuple[Request, int]) -> int:
    return entry[0].rank


def _first(entry: tuple[int, Flow, Work | None]) -> int:
    return entry[0]
