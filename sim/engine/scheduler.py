"""vLLM V1's scheduler over counted blocks: what one step does.

`schedule` mirrors `Scheduler.schedule` of `vllm/v1/core/sched/scheduler.py` (0.32 or 0.33): running turns first, in
order of admission, then waiting ones while token budget, seats (`max_num_seqs`) and blocks last.
`update_after_schedule` counts the plan's tokens as computed, `repeat` plans it again for as many steps as it holds
(`jump.py`), and `update_from_output` ends turns once a step is over. With asynchronous scheduling the next step is
planned in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from continuum_sim.engine.batch import Batch
from continuum_sim.engine.cadence import PrefillCadence
from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.contexts import Contexts
from continuum_sim.engine.ends import TurnEnds
from continuum_sim.engine.groups.choice import make_kv_cache_manager, make_pool
from continuum_sim.engine.offload.choice import make_connector
from continuum_sim.engine.offload.reloads import Reloads
from continuum_sim.engine.pipeline.batch import PipelinedBatch
from continuum_sim.engine.plan import Plan, steps_of
from continuum_sim.engine.progress import PREEMPTIONS_BETWEEN_CHECKS, check_progress
from continuum_sim.engine.request import Flight, Hits, Request
from continuum_sim.engine.room import Room
from continuum_sim.engine.speculation.choice import make_decoding
from continuum_sim.engine.visible import VisibleEngine
from continuum_sim.engine.waiting import WaitingQueue
from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.planes import Policy
from continuum_sim.policies.rules.priority import by_priority
from continuum_sim.policies.views import ProgramView

LogStep = Callable[[float, int, str, int, str, dict[str, Any]], None]
"""Called with (time in s, step, program, turn index, event, detail) for every decision."""


class Scheduler(VisibleEngine):
    """Batch, waiting queue and blocks of one engine; to policies it is the `EngineView`.

    Examples
    --------
    Of two turns on an engine of 8 blocks, which take 7 and 3, the second waits until the first has ended.

    >>> scheduler = Scheduler(EngineConfig(num_gpu_blocks=9), Policy("lru"), rebuild_s=lambda tokens: 0.0)
    >>> once = {"kept_tokens": 0, "max_tokens": 1, "known_tokens": 0, "arrival_s": 0.0, "tool": None, "last": True}
    >>> for name, tokens in ("a", 100), ("b", 40):
    ...     request = Request(scheduler.contexts.open(name, None, 0), prompt_tokens=tokens, **once)
    ...     matters = scheduler.add(name, request, now_s=0.0)
    >>> plan = scheduler.schedule(now_s=0.0)
    >>> plan.batch.prefill_tokens, scheduler.num_waiting
    (100, 1)
    >>> scheduler.update_after_schedule(plan)
    >>> [request.turn.program.program_id for request in scheduler.update_from_output(now_s=1.0)]
    ['a']
    >>> scheduler.schedule(now_s=1.0).batch.prefill_tokens
    40
    """

    def __init__(
        self,
        config: EngineConfig,
        policy: Policy,
        rebuild_s: Callable[[int], float],
        log: LogStep | None = None,
        sibling: Scheduler | None = None,
    ) -> None:
        """Start empty.

        Parameters
        ----------
        rebuild_s
            Returns the seconds to prefill a context of that many tokens; policies and memory tiers weigh it.
        log
            Called with every decision; None is faster.
        sibling
            Scheduler of another engine of the same cluster (see `Governor`).
        """
        if config.scheduling_policy == "priority":
            policy = by_priority(policy)
        self.config = config
        self.block_size = config.block_size
        self.step = 0
        """Steps carried out so far."""
        self.pool = make_pool(config)
        self.connector = make_connector(config, self.pool, policy.retention, rebuild_s)
        self.kv_cache_manager = manager = make_kv_cache_manager(config, self.pool)
        self.connector.bind_kv_cache_manager(manager)
        self.contexts = Contexts(self.pool, self.connector, manager)
        self.rebuild_s = self.connector.rebuild_s
        self.most_plans = config.max_concurrent_batches
        self.plans: deque[Plan] = deque()
        """Steps that are planned and not over, oldest first (vLLM's batch queue)."""
        self.leaving: dict[Request, None] = {}
        self.drafts = make_decoding(config)
        self.pipelined = PipelinedBatch(config) if config.pipelined else None
        """The running turns, if there are several stages."""
        self.batch = self.pipelined or Batch(config.block_size, foresees=config.async_scheduling, drafts=self.drafts)
        self.running, self.decoding = self.batch.running, self.batch.decoding
        self.decoding.due = manager.due
        self._blocks = manager.blocks_of
        self._cuts = manager.cuts_prompts
        self.preemptions = 0
        self._progress = -1
        self.cadence = PrefillCadence(config.prefill_schedule_interval)
        self.governor: Governor = Governor(
            policy,
            self,
            self.contexts.pins,
            None if log is None else lambda time_s, *what: log(time_s, self.step, *what),
            None if sibling is None else sibling.governor,
        )
        self.waiting = WaitingQueue(self.governor)
        parts = (self.pool, manager, self.contexts, self.connector, self.governor, self.waiting)
        self.reloads = Reloads(*parts, config)
        self.room = Room(config, self.batch, manager, self.pool, self.governor, self.waiting, self.reloads)
        self.ends = TurnEnds(self.plans, self.batch, *parts, defers=self.connector.native and self.most_plans > 1)
        self.reloading = self.reloads.waiting
        self._most_active = config.max_num_active_seqs or config.max_num_seqs
        self._most_tokens = config.max_num_batched_tokens  # of one prompt in the step being planned
        self._draft_slots = 0 if config.speculation is None else config.speculation.draft_slots
        self._skips = False
        self._order = policy.order
        self.shows_arrivals = log is not None or policy.order.sees_cache or policy.admission.gated
        self._yields_to_growth = policy.retention.yields_to_growth

    # Programs and turns ---------------------------------------------------------------------------------

    def add(self, program_id: str, request: Request, now_s: float) -> bool:
        """Queue a turn that just arrived; return True if the next step may differ because of it.

        Whatever the prompt does not keep of the program's context is forgotten, and the part of the program's pin that
        the prompt cannot use is freed.
        """
        free_before = self.pool.free
        request.turn = turn = self.governor.turn_arrived(program_id, request.prompt_tokens, now_s, request.parent)
        turn.priority = request.priority
        if self.pipelined is not None:
            request.flight = Flight()
        if request.foresight:
            turn.program.foresight = request.foresight[0]
        context = request.context
        if turn.index or request.aborts:
            usable_tokens = min(request.kept_tokens, request.prompt_tokens - 1)
            self.kv_cache_manager.keep_to(context, request.kept_tokens)
            self.contexts.shrink_pin(turn.program, request.kept_tokens, request.prompt_tokens, now_s)
            self.connector.prompt_keeps(context, request.kept_tokens, usable_tokens)
        if self._order.sees_cache:
            turn.cached_tokens = self.kv_cache_manager.get_computed_blocks(request)[1]
        self.waiting.add(request, now_s)
        matters = self.waiting.may_be_next(request) or self.governor.reviews or self.counts_turns
        matters = matters or self.connector.passed_over > 0  # who stands before it may be passed over again
        return self.pool.free != free_before or matters

    def hand_over(self, program_id: str, to: int, now_s: float) -> tuple[ProgramView, bool]:
        """Remove a program in a tool call that moves to another engine.

        Its pin ends here; its cached blocks stay until they are evicted, in case the program comes back. Returns the
        program, and True if the next step may differ because of this.
        """
        free_before = self.pool.free
        program = self.governor.hand_over(program_id, to, now_s)
        self.connector.leaves(self.contexts[program_id])
        gated = self.governor.policy.admission.gated
        return program, self.pool.free != free_before or gated or self.governor.reviews

    # One step -------------------------------------------------------------------------------------------

    def schedule(self, now_s: float) -> Plan:
        """Decide what the step that starts now computes, and allocate the blocks it needs."""
        plan = Plan()
        self.batch.calls += 1
        if self._cuts:
            self.kv_cache_manager.new_step_starts()
        self.reloads.take_in(now_s)
        plan.changed = self.governor.begin_step(now_s)
        if self.config.long_prefill_token_threshold:
            self._most_tokens = self.config.most_prefill_tokens(self.num_running + self.num_waiting)
        plan.held = self.cadence.active and self.cadence.holds(self.batch)
        budget = self._schedule_running(plan, now_s)
        if plan.preempted:
            plan.changed = True
        elif budget > self._draft_slots and (self.waiting.queued or self.reloads.ready):
            budget = self._schedule_waiting(plan, budget, now_s)
        plan.spent = budget <= self._draft_slots
        self.decoding.sum_up(plan)
        for request in () if plan.empty else plan.skipped:  # else no step runs that it could miss
            self.decoding.skip(request)
        if self.cadence.active:
            self.cadence.planned(plan, self.batch, waits=self.waiting.binds)
        self.connector.build_connector_meta(plan, self.batch, self.plans[-1] if self.plans else None, now_s)
        plan.follows_skip, self._skips = self._skips, bool(plan.skipped)
        return plan

    def update_after_schedule(self, plan: Plan) -> None:
        """Count what a step will compute, so that the next one can be planned before it is over."""
        self.batch.update_after_schedule(plan, self.plans[-1] if self.plans else None)
        self.plans.append(plan)
        self.kv_cache_manager.note_peak()

    def pass_first(self, now_s: float) -> Plan:
        """Hand out the tokens of the older of two steps, which ended at that time without ending a turn; return it."""
        plan = self.plans.popleft()
        self.step += 1
        self.batch.hand_out(plan, now_s)
        return plan

    def repeat(self, steps: int) -> None:
        """Carry out `steps` steps, and plan as many like the latest one, which holds that long (see `jump.py`)."""
        plan = self.plans[-1]
        self.step += steps
        if len(self.plans) < self.most_plans:  # the first of two is over already
            self.plans.appendleft(plan.twin())
            self.step -= 1
        self.kv_cache_manager.take_steps(self.batch, plan, steps)
        if self.cadence.active:
            self.cadence.repeated(plan, steps)
        self.batch.repeat(plan, steps, None if self.plans[0] is plan else self.plans[0])
        for request, _ in plan.chunks:
            self.kv_cache_manager.cache(request, request.num_computed_tokens)
        self.kv_cache_manager.note_peak()

    def update_from_output(self, now_s: float) -> list[Request]:
        """Hand out the tokens of the oldest planned step, which ends now; return the turns that ended."""
        plan = self.plans.popleft()
        self.step += 1
        self.connector.step_over(now_s)
        if self.ends.deferred:
            self.ends.step_over(plan)
        if self.drafts is not None:
            self.drafts.over(plan, self.plans[-1] if self.plans else None)
        self.batch.step_over(plan)
        if plan.sampling:
            self.batch.hand_out(plan, now_s)
        if plan.hung_up:
            self.leaving.update(dict.fromkeys(plan.hung_up))
        for request in self.batch.with_late_tokens(plan, now_s) if plan.late else plan.ended:
            self.ends.finish(request, now_s)
        return plan.ended

    # Running turns --------------------------------------------------------------------------------------

    def _schedule_running(self, plan: Plan, now_s: float) -> int:
        """Give every running turn its tokens, all at once if the blocks suffice; return the remaining token budget."""
        if self.pipelined is not None:
            return self._schedule_running_one_by_one(plan, now_s)
        if self.drafts is not None:
            left = self.drafts.schedule_all(plan, self.batch, self.kv_cache_manager, self.pool, self._most_tokens)
            return left if left >= 0 else self._schedule_running_one_by_one(plan, now_s)
        decoding = self.decoding
        budget = self.config.max_num_batched_tokens - decoding.count
        chunks = []
        for request in () if plan.held else self.batch.prefilling.values():
            chunk = min(request.num_tokens - request.num_computed_tokens, self._most_tokens)
            if chunk > budget:
                cut = self.config.long_prefill_token_threshold or self._cuts or self.ends.defers
                if cut and next(reversed(self.running)) != request.rank:
                    return self._schedule_running_one_by_one(plan, now_s)  # the order decides who goes without
                chunk = budget
            if self._cuts:
                chunk = self.kv_cache_manager.cut_prompt(request, request.num_computed_tokens, chunk)
            if not chunk:
                continue
            budget -= chunk
            chunks.append((request, chunk))
        if not self.kv_cache_manager.take_step(self.batch, chunks, self.plans[-1] if self.plans else None):
            return self._schedule_running_one_by_one(plan, now_s)
        for request, chunk in chunks:
            self._take_chunk(plan, request, chunk)
        return budget

    def _schedule_running_one_by_one(self, plan: Plan, now_s: float) -> int:
        """Schedule running turns one by one, preempting until each fits (vLLM's own loop); return the budget left."""
        self.kv_cache_manager.one_by_one()
        budget, slots = self.config.max_num_batched_tokens, self._draft_slots
        order = list(self.running.values())
        scheduled: dict[int, int] = {}
        ahead = self.plans[-1] if self.plans and self.kv_cache_manager.grouped else None
        at = 0
        while at < len(order) and budget > slots:
            request = order[at]
            if self.batch.passes_over(request, held=plan.held):
                at += 1
                continue
            start = self.batch.computed(request)
            if request.decoding:
                tokens = self.decoding.next_tokens(request, budget - slots)
            else:
                tokens = min(request.num_tokens - start, self._most_tokens, budget - slots)
                if self._cuts:
                    tokens = self.kv_cache_manager.cut_prompt(request, start, tokens)
            if not tokens:
                at += 1
                continue
            in_flight = self.batch.tokens_in_flight(request, ahead)
            blocks = self.kv_cache_manager.growth(request, start, tokens, in_flight)
            stuck = False
            while blocks > self.pool.free:
                if self._yields_to_growth and self.room.break_pin(plan, request, now_s):
                    continue
                place = self._order.victim([self.batch.turn_so_far(r) for r in order])
                if self.ends.defers and steps_of(self.plans, order[place]):
                    stuck = True  # its blocks would be free only after that step
                    break
                victim = order.pop(place)
                at -= place < at
                given = scheduled.pop(victim.rank, 0)
                if given:
                    budget += given + slots
                self._preempt(victim, given, now_s)
                plan.preempted = [*plan.preempted, victim]
                if victim is request:
                    break
            else:
                self.kv_cache_manager.extend(request, start + tokens, blocks, in_flight)
                scheduled[request.rank] = tokens
                self.batch.scheduled(request, tokens)
                plan.prefills = plan.prefills or not request.decoding
                budget -= tokens + slots
                at += 1
                continue
            if stuck or not self.config.outlives_own_preemption:
                break
        for request in self.batch.take_part(plan, order, scheduled):
            self._take_chunk(plan, request, scheduled[request.rank])
        return budget

    def _take_chunk(self, plan: Plan, request: Request, tokens: int) -> None:
        plan.chunks.append((request, tokens))
        self.kv_cache_manager.cache(request, request.num_computed_tokens + tokens)

    def _preempt(self, request: Request, scheduled_tokens: int, now_s: float) -> None:
        """Free a running turn's blocks and queue it again; it must recompute whatever is evicted meanwhile."""
        computed, rank = self.batch.computed(request), request.rank
        findable = computed + scheduled_tokens if request.flight is None else request.flight.hashed_tokens
        late = self.pipelined is None and bool(self.plans) and self.plans[-1].gives_token_to(request)
        if late and (scheduled_tokens or request not in self.plans[-1].sampling):
            findable -= 1  # vLLM hashes a block of decoded tokens when it knows them all
        self.batch.leave(request)
        self.kv_cache_manager.cache(request, findable, leaves=True)
        self.connector.request_preempted(request, now_s)
        self.kv_cache_manager.free(request, computed + scheduled_tokens)
        request.turn.computed_tokens = request.work_tokens
        request.known_tokens = max(request.known_tokens, min(computed, request.num_tokens - 1))
        request.num_computed_tokens = 0
        request.num_preemptions += 1
        if late:
            request.num_output_tokens -= self.plans[-1].tokens_given_to(request)
            self.plans[-1].late.append((rank, request))
        elif self.pipelined is not None and self.pipelined.preempted(request, rank, self.plans):
            pass  # they are to come
        elif request.preempted_from_s < 0:  # else it has sampled no token since its last preemption
            request.preempted_from_s = now_s
        self.preemptions += 1
        if self.preemptions % PREEMPTIONS_BETWEEN_CHECKS == 0:
            self._progress = check_progress(self.batch, self._progress, self.governor.policy.name, now_s)
        self.governor.turn_preempted(request.turn, now_s)
        self.waiting.put_back(request, now_s)

    # Waiting turns --------------------------------------------------------------------------------------

    def _schedule_waiting(self, plan: Plan, budget: int, now_s: float) -> int:
        """Admit waiting turns until one does not fit; return the remaining token budget."""
        slots = self._draft_slots
        while budget > slots and len(self.running) < self._most_active:
            if self.reloads.ready:
                request = self.reloads.first()
                tokens, padding = min(request.uncached_tokens, self._most_tokens), 0
                if plan.held and request.uncached_tokens > 1:
                    break
                if self.connector.native:
                    if self.drafts is not None:
                        padding = self.drafts.padding(plan, request.num_tokens, request.num_computed_tokens)
                    left = budget - slots
                    if padding + 1 > left or (tokens > left and not self.config.enable_chunked_prefill):
                        break
                    tokens = min(tokens, left)
                    if self._cuts:
                        tokens = self.kv_cache_manager.cut_prompt(request, request.num_computed_tokens, tokens)
                        if not tokens:
                            break
                    reach = request.num_computed_tokens + tokens + padding
                    whole = request.num_tokens if self.config.scheduler_reserve_full_isl else reach
                    if not self.room.make(plan, request, [], whole, reach, now_s, has_loaded=True):
                        break
                tokens = min(tokens, budget)
                self.batch.enter(plan, self.reloads.next(tokens + padding), now_s)
                self._take_chunk(plan, request, tokens)
                if padding:
                    plan.padded[request] = padding
                budget -= tokens + padding + slots
                continue
            head = self.waiting.head(now_s)
            if head is None:
                break
            if head.flight is not None and head.flight.stale:
                self.waiting.pass_over(head)  # its tokens on their way would come after those computed again
                continue
            request, upload = head, head.context.upload
            if upload is not None:
                if not self.room.make(plan, request, [], request.num_tokens, 0, now_s):
                    break
                self.reloads.join(upload, request, now_s)
                plan.changed = True
                continue
            num_tokens = request.num_tokens
            hits, cached = self.kv_cache_manager.get_computed_blocks(request)
            external = self.connector.get_num_new_matched_tokens(request, cached, now_s)
            if external is None:
                self.waiting.pass_over(request)
                continue
            if external:
                # While its blocks are loaded it cannot be preempted, so what it needs to run afterwards must fit now.
                loads = cached + external if self.connector.native else 0
                if loads:
                    hits = self.kv_cache_manager.with_loaded(hits, loads)
                whole = num_tokens if not loads or self.config.scheduler_reserve_full_isl else loads
                if not self.room.make(plan, request, hits, whole, 0, now_s, loads=loads):
                    break
                self.reloads.begin(request, cached, external, hits, now_s)
                plan.changed = True
                continue
            tokens = min(num_tokens - cached, self._most_tokens)
            if plan.held and num_tokens - cached > 1:
                break
            padding = 0 if self.drafts is None else self.drafts.padding(plan, num_tokens, cached)
            if padding + 1 > budget - slots or (tokens > budget - slots and not self.config.enable_chunked_prefill):
                break
            tokens = min(tokens, budget - slots)
            if self._cuts:
                tokens = self.kv_cache_manager.cut_prompt(request, cached, tokens)
                if not tokens or self.kv_cache_manager.must_wait(request):
                    break
            # If nothing runs but pins hold blocks, the whole turn must fit. Admitted for its first chunk, it could lack
            # a block for the next one, preempt itself and be admitted again, forever, as pins yield to waiting turns.
            alone = not self.running and self.governor.has_pins
            whole = num_tokens if alone or self.config.scheduler_reserve_full_isl else cached + tokens
            if alone and self.drafts is not None:
                whole = self.drafts.slots(whole)
            if not self.room.make(plan, request, hits, whole, cached + tokens + padding, now_s, surely=alone):
                break
            self._admit(plan, request, cached, tokens, padding, hits, now_s)
            budget -= tokens + padding + slots
        self.connector.passed_over = self.waiting.take_back(now_s)
        return budget

    def _admit(
        self, plan: Plan, request: Request, cached: int, tokens: int, padding: int, hits: Hits, now_s: float
    ) -> None:
        self.waiting.admit(request)
        self.kv_cache_manager.allocate(request, hits, cached + tokens + padding)
        request.num_computed_tokens = cached
        self.batch.scheduled(request, tokens)
        self.batch.enter(plan, request, now_s)
        self.governor.turn_admitted(request.turn, cached, now_s)
        self._take_chunk(plan, request, tokens)
        if padding:
            plan.padded[request] = padding
