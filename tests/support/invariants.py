"""Invariants of every step of any run, checked from the block tables and plans alone."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from itertools import groupby

from continuum_sim.engine.chain import BlockRun
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.groups.manager import GroupedKVCacheManager
from continuum_sim.engine.groups.table import BandTable, StateTable
from continuum_sim.engine.offload.native import NativeConnector
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Context, Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.policies.instants import SAME_INSTANT_S
from continuum_sim.traces.schema import STOP, Program


def most_wasted_tokens(programs: Iterable[Program], config: EngineConfig) -> int:
    """Return how many tokens may be computed after the last ones of turns: each end that nobody foresaw costs one."""
    turns = [turn for program in programs for member in program.family() for turn in member.turns]
    return sum(turn.finish == STOP for turn in turns) if config.async_scheduling else 0


def tables_of(scheduler: Scheduler, request: Request) -> list[BandTable]:
    """Return what a turn holds of each group; nothing on an engine of one group that keeps all tokens."""
    manager = scheduler.kv_cache_manager
    return manager.tables[request] if isinstance(manager, GroupedKVCacheManager) else []


def _blocks(run: BlockRun) -> range:
    return range(run.start, run.stop)


class InvariantObserver:
    """A `StepObserver` that keeps its own count of tokens and blocks and compares."""

    def __init__(self, config: EngineConfig) -> None:
        self.config = config
        self.steps = 0
        self.now_s = 0.0
        self._over_s = 0.0
        self.tokens: dict[Request, int] = {}
        """Tokens with KV of every running turn once all planned steps have run, by our own count."""
        self._planned: deque[dict[Request, int]] = deque()
        """Tokens by turn of every step under way."""
        self.contexts: dict[str, Context] = {}

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        self.contexts[program_id] = request.context

    def on_abort(self, scheduler: Scheduler, request: Request, now_s: float) -> None:
        for tokens in (self.tokens, *self._planned):
            tokens.pop(request, None)

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        assert now_s >= self.now_s, "time never goes back"
        self.now_s = now_s
        for request in plan.preempted:
            del self.tokens[request]
        for request in plan.admitted:
            assert request not in self.tokens
            found = request.num_computed_tokens
            assert found % self.config.block_size == 0 or scheduler.connector.native
            assert found < request.num_tokens
            self.tokens[request] = request.num_computed_tokens
        scheduled = {request: plan.tokens_for(request) for request in scheduler.running.values()}
        self._check_plan(scheduler, plan, scheduled)
        for request, tokens in scheduled.items():
            self.tokens[request] += tokens
        self._check_blocks(scheduler, self.tokens)
        if not plan.empty:
            self._planned.append(scheduled)
        self._check_pins(scheduler, now_s)
        self._check_work(scheduler, plan, now_s)

    def on_advance(
        self, scheduler: Scheduler, plan: Plan, steps: int, start_s: float, end_s: float, finished: list[Request]
    ) -> None:
        assert steps >= 1
        assert start_s == max(self.now_s, self._over_s), "a step starts when it is planned, or after the one before"
        assert end_s > start_s
        self._over_s = end_s
        self.steps += steps
        under_way = sum(not each.empty for each in scheduler.plans)
        more = steps - (len(self._planned) - under_way)  # planned meanwhile, like the latest
        done = self._planned.popleft()
        latest = self._planned[-1] if self._planned else done
        while len(self._planned) < under_way:
            self._planned.append(latest)
        if more:
            for request, tokens in latest.items():
                self.tokens[request] += more * tokens
        for request in finished:
            if request in self.tokens:  # else it was preempted before its last token came
                wasted = sum(step.get(request, 0) for step in self._planned)
                assert self.tokens.pop(request) - wasted == request.prompt_tokens + request.max_tokens - 1
                assert wasted <= request.stops, "no step is planned in vain where the end is foreseen"
        self._check_blocks(scheduler, self.tokens)

    def _check_plan(self, scheduler: Scheduler, plan: Plan, scheduled: dict[Request, int]) -> None:
        config, batch = self.config, plan.batch
        assert scheduled.keys() == self.tokens.keys()
        assert len(scheduler.running) <= config.max_num_seqs
        assert sum(scheduled.values()) <= config.max_num_batched_tokens
        chunks = dict(plan.chunks)
        decodes = [r for r, n in scheduled.items() if n and r not in chunks]
        assert batch.prefill_requests == len(plan.chunks)
        assert not plan.held or set(chunks.values()) <= {1}, "a prompt is computed although the last one is too recent"
        assert batch.prefill_tokens == sum(chunks.values())
        assert batch.prefill_context_tokens == sum(self.tokens[r] for r in chunks)
        assert batch.prefill_pairs == sum(
            sum(range(self.tokens[r] + 1, self.tokens[r] + n + 1)) for r, n in chunks.items()
        )
        assert batch.decode_requests == len(decodes)
        assert batch.decode_context_tokens == sum(self.tokens[r] + 1 for r in decodes)

    def _check_blocks(self, scheduler: Scheduler, tokens: dict[Request, int]) -> None:
        """Check that every block is either free or referenced, and references are those of the tables.

        Tables of turns that slide evenly are not up to date between steps, and would never slide if they always were.
        """
        if self.config.kv_cache_groups:
            if scheduler.step % 5:
                return
            scheduler.kv_cache_manager.one_by_one()
        pool, size = scheduler.pool, self.config.block_size
        queued = list(pool.queued())
        assert pool.free == pool.blank + sum(len(run) for run in queued)
        assert all(run.refs == 0 and len(run) > 0 for run in queued)
        loading = [*scheduler.reloading, *self._aborted_loads(scheduler)]
        grouped = [table for request in (*tokens, *loading) for table in tables_of(scheduler, request)]
        tables = [table.runs for table in grouped]
        tables += [request.table for request in (*tokens, *loading)]
        tables += [table for _, deferred, _ in scheduler.ends.deferred for table in deferred]
        uploads = scheduler.connector.uploads
        tables += [upload.table for upload in uploads]
        tables += [context.pinned for context in self.contexts.values()]
        references = Counter(id(run) for table in tables for run in table)
        held = {id(run): run for table in tables for run in table}
        assert not held.keys() & {id(run) for run in queued}
        assert all(run.refs == references[key] == len(run.holders) for key, run in held.items())
        assert all(upload.context.upload is upload for upload in uploads)
        blank = sum(upload.stop - sum(map(len, upload.table)) for upload in uploads)
        loaded = {request: request.loaded_tokens for request in loading}
        for request, computed in (tokens | loaded).items() if self.config.kv_cache_groups else ():
            blank += self._blank_of_groups(scheduler, request, computed)
        blank += sum(blocks for _, _, blocks in scheduler.ends.deferred)
        # A turn whose blocks come from a lower tier holds room for its whole prompt, or for these in native offload.
        native = scheduler.connector.native
        whole = {request: request.reload_blocks[1] * size if native else request.num_tokens for request in loading}
        for request, computed in ({} if self.config.kv_cache_groups else tokens | whole).items():
            stops = [run.stop for run in request.table]
            starts = [run.start for run in request.table]
            assert starts == [0, *stops[:-1]] if stops else not starts
            blank += -(-computed // size) - (stops[-1] if stops else 0)
        assert sum(map(len, held.values())) + blank + pool.free == pool.num_blocks == self.config.usable_blocks
        pins = Counter(id(run) for context in self.contexts.values() for run in context.pinned)
        assert all(run.pins == pins[key] for key, run in held.items())
        pinned = sum(len(held[key]) for key in pins)
        assert scheduler.pinned_blocks == pinned

    def _aborted_loads(self, scheduler: Scheduler) -> list[Request]:
        """Return the turns that were aborted while they loaded blocks, which therefore still hold them."""
        connector = scheduler.connector
        if not isinstance(connector, NativeConnector):
            return []
        return [transfer.request for transfer in connector.loads_under_way() if transfer.request.aborted]

    def _blank_of_groups(self, scheduler: Scheduler, request: Request, computed: int) -> int:
        """Check the blocks that a turn holds in each group; return those without content."""
        blank = 0
        tables = iter(tables_of(scheduler, request))
        for spec, same in groupby(self.config.kv_cache_groups):
            table = next(tables)
            width = len(list(same))
            assert 0 <= table.first <= table.stop
            assert table.stop == -(-computed // spec.block_size)
            assert table.first <= spec.skipped_blocks(computed), "what the window reaches is held"
            held: Sequence[int] = range(table.first, table.stop)
            if isinstance(table, StateTable):
                assert set(table.states) <= set(held)
                assert table.states == sorted(set(table.states))
                assert table.stop - 1 in table.states, "the state to go on from is held"
                assert all(block in table.states for run in table.runs for block in _blocks(run))
                held = table.states
            for group in table.band.groups:
                runs = [run for run in table.runs if run.group <= group < run.group + run.width]
                edges = [table.first, *(edge for run in runs for edge in (run.start, run.stop)), table.stop]
                assert edges == sorted(edges), "stretches with content are in order, inside what is held"
                blank += len(held) - sum(run.stop - run.start for run in runs)
            assert table.band.width == width
        assert next(tables, None) is None
        return blank

    def _check_pins(self, scheduler: Scheduler, now_s: float) -> None:
        programs = scheduler.governor.programs
        for name, context in self.contexts.items():
            view = programs.get(name)
            pin = view.pin if view is not None else None
            held = sum(map(len, context.pinned))
            assert held == (0 if pin is None else pin.blocks), "policy and pool agree on what a pin holds"
            if view is not None and pin is not None and view.turn_end_s is not None:
                assert now_s < pin.expires_s + 2 * SAME_INSTANT_S, "a pin outlived its time in a gap"

    def _check_work(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        """Check that the engine leaves a waiting turn aside only for a reason."""
        if scheduler.governor.policy.admission.gated or not scheduler.waiting.queued:
            return
        uploads = scheduler.connector.uploads
        under_way = scheduler.plans or scheduler.reloading or uploads or scheduler.connector.passed_over
        assert not plan.empty or plan.changed or under_way, "nothing runs although something waits"
        seats = self.config.max_num_active_seqs or self.config.max_num_seqs
        if plan.spent or plan.preempted or plan.held or len(scheduler.running) == seats or scheduler.connector.native:
            return
        if scheduler.pipelined is not None and any(not each.empty for each in scheduler.plans):
            return  # a preempted turn waits for its tokens in batches under way
        assert scheduler.running or scheduler.reloading or uploads, "with an empty engine every turn fits"
        head = scheduler.waiting.head(now_s)
        assert head is not None
        if head.flight is not None and head.flight.stale:
            return
        manager = scheduler.kv_cache_manager
        hits = head.context.find((head.num_tokens - 1) // self.config.block_size)
        cached = hits[-1][2] * self.config.block_size if hits else 0
        if self.config.kv_cache_groups:
            hits, cached = manager.get_computed_blocks(head)
        upload = head.context.upload
        held = upload.stop if upload else sum(stop - start for run, start, stop in hits if run.refs)
        budget = self.config.max_num_batched_tokens - plan.batch.prefill_tokens - plan.batch.decode_requests
        most = head.num_tokens - cached
        if self.config.long_prefill_token_threshold and scheduler.num_running + scheduler.num_waiting > 1:
            turns = scheduler.num_running + scheduler.num_waiting
            share = self.config.max_num_batched_tokens // turns
            share *= self.config.long_prefill_token_threshold_adaptive
            most = min(most, max(self.config.long_prefill_token_threshold, share))
        if most > budget and not self.config.enable_chunked_prefill:
            return
        whole = head.num_tokens
        if not self.config.scheduler_reserve_full_isl and self.config.tiers is None:
            whole = min(whole, cached + min(most, budget))
        needed = -(-whole // self.config.block_size) - held
        if self.config.kv_cache_groups:
            most = manager.cut_prompt(head, cached, min(most, budget))
            if not most or manager.must_wait(head):
                return
            alone = not scheduler.running and scheduler.governor.has_pins
            needed = manager.room_for(hits, whole, cached + min(most, budget), surely=alone)
        needed += self.config.watermark_blocks if scheduler.running else 0
        assert needed > scheduler.pool.free, "a turn that fits was left waiting"
