"""Runs a policy inside vLLM's scheduler: tells the governor what happens and carries out its answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from continuum_sim.policies.host.governor import Governor
from continuum_sim.policies.host.pins import PinLedger
from continuum_sim.policies.planes import Fate, PinFor
from continuum_sim.policies.views import ProgramView
from continuum_sim.results.decisions import DecisionRecord
from continuum_sim.validate.plugin.clients import Clients
from continuum_sim.validate.plugin.engine_view import VllmEngineView
from continuum_sim.validate.plugin.fitness import check_fitness
from continuum_sim.validate.plugin.identity import identify
from continuum_sim.validate.plugin.internals import vllm_version
from continuum_sim.validate.plugin.journal import Journal, for_rank
from continuum_sim.validate.plugin.pins import PinnedBlocks, size
from continuum_sim.validate.plugin.rebuild import LearntRebuild, make_rebuild
from continuum_sim.validate.plugin.settings import PluginSettings
from continuum_sim.validate.plugin.turns import LiveTurn, ended_well
from continuum_sim.validate.plugin.victim import VictimChoice
from continuum_sim.validate.steplog import entering

if TYPE_CHECKING:
    from continuum_sim.validate.plugin.host_cache import RetentionCachePolicy


class PolicyHost:
    """One policy on one vLLM scheduler."""

    def __init__(self, scheduler: Any, settings: PluginSettings, complain: Callable[[str], None]) -> None:
        """Install the policy's queue and pins in a scheduler that was just built.

        Raises
        ------
        ConfigError
            If the policy is unknown, looks ahead or cannot run on this engine, or if a file cannot be written.
        """
        from vllm.v1.request import RequestStatus

        from continuum_sim.validate.plugin.waiting import PolicyQueue, QueueHost

        policy = settings.make_policy()
        check_fitness(scheduler, policy)
        self._scheduler = scheduler
        self._status = RequestStatus
        self._complain = _once(complain)
        rank = scheduler.parallel_config.data_parallel_index
        self._journal = Journal(
            for_rank(settings.decisions, rank),
            for_rank(settings.counts, rank),
            settings.counts_period_s,
            self._complain,
        )
        self._rebuild = make_rebuild(settings, scheduler.max_num_scheduled_tokens, scheduler.max_model_len)
        ledger = PinLedger(self)
        self.pins = PinnedBlocks(
            scheduler.kv_cache_manager,
            scheduler.requests,
            scheduler.hash_block_size,
            ledger,
            ahead=scheduler.vllm_config.scheduler_config.async_scheduling,
            lookahead_tokens=scheduler.num_lookahead_tokens,
            max_model_len=scheduler.max_model_len,
        )
        self.engine = VllmEngineView(scheduler, self.pins, self._rebuild)
        log = self._log if self._journal.logs else None
        self.governor = Governor(policy, self.engine, ledger, log)
        self.clients = Clients(self.governor, settings.forget_after_s)
        self.step = 0
        """Number of steps that have run; one that only changes the state counts when it is scheduled."""
        self.turns: dict[str, LiveTurn] = {}
        """Every request inside the engine, by request id."""
        self._start_s = time.monotonic()
        self._now_s = 0.0
        self._step_s = 0.0
        """When the latest step was scheduled."""
        self._changed = False
        """Whether the step being scheduled changes anything besides what it computes."""
        self._updating = False
        self._queue: PolicyQueue | None = None
        if policy.order.keyed or policy.admission.gated:
            host = QueueHost(
                lambda request: self.turns[request.request_id].view,
                lambda: self._now_s,
                self._has_seat,
                lambda turn: not self.clients.is_stranger(turn.program),
            )
            self._queue = scheduler.waiting = PolicyQueue(self.governor, host)
        self._host_cache: RetentionCachePolicy | None = None
        if scheduler.connector is not None:
            from continuum_sim.validate.plugin.host_cache import host_cache_of

            self._host_cache = host_cache_of(scheduler)
        if self._host_cache is not None:
            self._host_cache.attach(self.governor, lambda: self._now_s)
        self._victim = VictimChoice(scheduler, policy.order, lambda r: self.turns[r.request_id].so_far(r))
        self._allocate = scheduler.kv_cache_manager.allocate_slots
        scheduler.kv_cache_manager.allocate_slots = self._allocate_slots

    def uptime_s(self) -> float:
        """Return the seconds since the plug-in started, on a monotonic clock."""
        return time.monotonic() - self._start_s

    # What vLLM's scheduler does ---------------------------------------------------------------------------

    def turn_arrives(self, request: Any) -> None:
        """Take in a new request, before it is queued."""
        live = self.turns[request.request_id] = self._take_in(request, self._arrival_s(request))
        live.view.priority = request.priority
        if self._host_cache is not None and live.identity is not None:
            self._host_cache.turn_arrived(request.request_id, live.view)
        if self.governor.policy.order.sees_cache:
            live.view.cached_tokens = self._scheduler.kv_cache_manager.get_computed_blocks(request)[1]

    def _take_in(self, request: Any, now_s: float) -> LiveTurn:
        identity = identify(request, self._complain)
        clients, tokens = self.clients, request.num_prompt_tokens
        if identity is None:
            return LiveTurn(self.governor.stranger(request.request_id, tokens, now_s), None, leads=False)
        program_id = identity.program_id
        if clients.is_busy(program_id):
            return LiveTurn(clients.turn_beside(program_id, tokens, now_s), identity, leads=False)
        clients.tool_was(program_id, identity.previous_tool)
        now_s = max(now_s, clients.pause_start_s(program_id))
        view = clients.turn_arrived(program_id, tokens, now_s, identity.parent)
        if program_id in self.pins:
            # vLLM always computes at least the prompt's last token.
            usable = tokens - 1 if identity.kept_tokens is None else min(tokens - 1, identity.kept_tokens)
            self.pins.shrink(view.program, request, usable, now_s)
        return LiveTurn(view, identity, leads=True)

    def begin_step(self) -> None:
        """Do what is due before a step is scheduled: expire pins, and forget programs that stay away."""
        now_s = self._step_s = self._tell_time()
        self._changed = False
        self.governor.begin_step(now_s)
        self.clients.forget_idle(now_s)

    def scheduled(self, output: Any) -> None:
        """Record what a step will compute."""
        self._victim.release()
        if output.total_num_scheduled_tokens:
            if isinstance(self._rebuild, LearntRebuild):
                self._rebuild.step_scheduled(self._scheduler.requests, output.num_scheduled_tokens, entering(output))
        elif self._changed:
            self.step += 1

    def step_ran(self, output: Any) -> None:
        """Count a step that has run; its results are about to be processed."""
        self._tell_time()
        if output.total_num_scheduled_tokens:
            self.step += 1
            if isinstance(self._rebuild, LearntRebuild):
                self._rebuild.step_ran()
        self._updating = True

    def step_processed(self) -> None:
        """Finish a step whose results have been processed, and write the counts if they are due."""
        self._updating = False
        self.engine.leaving = 0
        if not self._scheduler.requests or self._journal.counts_due():
            self._write_counts()

    def preempting(self, request: Any) -> None:
        """Record that a running request is about to lose its blocks and be queued again."""
        self._victim.release()
        self._changed = True
        live = self.turns[request.request_id]
        live.left(request)
        live.view.computed_tokens = live.computed_tokens
        if live.leads:
            self.governor.turn_preempted(live.view, self._now_s)
        else:
            live.view.preempted = True

    def request_ends(self, request: Any) -> None:
        """Decide what happens to the blocks of a finished request, just before vLLM frees them."""
        live = self.turns.pop(request.request_id, None)
        if live is None:
            return
        now_s = self._tell_time()
        if live.running and self._updating:
            self.engine.leaving += 1
        live.left(request)
        if not live.leads:
            return
        if ended_well(request, self._status):
            self._turn_ended(request, live, now_s)
        else:
            self.clients.turn_aborted(live.view, now_s)

    def reset(self) -> None:
        """End every pin: the cache is about to be reset."""
        self.governor.cache_reset(self._tell_time())

    def close(self) -> None:
        """Write the final counts; remaining pins disappear with the engine."""
        self._write_counts(final=True)
        self._journal.close()

    # Blocks -----------------------------------------------------------------------------------------------

    def _allocate_slots(self, request: Any, *args: Any, **kwargs: Any) -> Any:
        """Allocate as vLLM does, breaking pins where the policy lets them go."""
        if self.pins.waits_for_state(kwargs.get("new_computed_blocks")):
            return None
        if self.governor.has_pins and not self._scheduler.running:
            # A request admitted for its first chunk alone could lack a block for the next one, preempt itself and be
            # admitted for the same chunk again, forever, because pins give way to waiting requests only.
            kwargs["full_sequence_must_fit"] = True
            hits, hit_tokens = kwargs.get("new_computed_blocks"), kwargs.get("num_new_computed_tokens", 0)
            while self.pins.lacks(request, hits, hit_tokens):
                if not self._break_pin(request):
                    return None
        blocks = self._allocate(request, *args, **kwargs)
        if request.status == self._status.RUNNING:
            if blocks is None and self.governor.policy.retention.yields_to_growth:
                while blocks is None and self._break_pin(request):
                    blocks = self._allocate(request, *args, **kwargs)
            if blocks is None and self._victim.differs:
                self._victim.force()
            return blocks
        while blocks is None and self._break_pin(request):
            blocks = self._allocate(request, *args, **kwargs)
        if blocks is not None:
            cached = kwargs.get("num_new_computed_tokens", 0) + kwargs.get("num_external_computed_tokens", 0)
            self._admitted(request, cached)
        return blocks

    def _break_pin(self, request: Any) -> bool:
        """Break one pin for a request that lacks room, if the policy lets one go; return whether it did."""
        if not self.governor.has_pins:
            return False
        return self.governor.pin_to_break(self.turns[request.request_id].view, self._now_s) is not None

    def _admitted(self, request: Any, cached_tokens: int) -> None:
        """Hand a program's pin over to its request, which was admitted and now holds the same blocks itself."""
        live = self.turns[request.request_id]
        if live.running:
            return  # admitted earlier, and its blocks have been waiting for a transfer since
        live.admitted(cached_tokens)
        if self._queue is not None:
            self._queue.admitted(request)
        if not live.leads:
            live.view.preempted = False
            return
        self.governor.turn_admitted(live.view, cached_tokens, self._now_s)

    def _turn_ended(self, request: Any, live: LiveTurn, now_s: float) -> None:
        """Ask the policy what happens to the blocks, and do it."""
        assert live.identity is not None
        groups = self.pins.blocks_to_keep(request.request_id)
        decision = self.clients.turn_ended(
            live.view,
            context_tokens=request.num_tokens,
            computed_tokens=live.computed_tokens,
            tool=live.identity.tool,
            last=live.identity.last_turn,
            blocks=size(groups),
            now_s=now_s,
        )
        if isinstance(decision, PinFor):
            self.pins.hold(live.view.program, groups, decision.ttl_s, now_s)
        elif decision is Fate.EVICT:
            self.pins.forget_content(self.pins.full_blocks(request.request_id))

    # The blocks of pins, for the ledger -------------------------------------------------------------------

    def unpin(self, program: ProgramView) -> None:
        """Free the blocks of a pin that ends, and move the program's waiting turns if their keys change."""
        self._changed = True
        self.pins.release(program.program_id)
        if self._queue is not None:
            self._queue.pin_ended(program)

    def offload(self, program: ProgramView, now_s: float) -> None:
        """Do nothing: there is no memory below the KV cache that a policy could move contexts to."""

    def recall(self, program: ProgramView, now_s: float) -> int | None:
        """Return None: nothing was offloaded that could come back."""
        return None

    # Time, seats and the journal --------------------------------------------------------------------------

    def _tell_time(self) -> float:
        now_s = float(self._scheduler.continuum_clock())
        self._now_s = now_s
        return now_s

    def _arrival_s(self, request: Any) -> float:
        """Return when a request reached the server, which may be up to a step before vLLM hands it over.

        The request's own time stamp is trusted no further back than the start of the step it may have waited for.
        """
        step_s, now_s = self._step_s, self._tell_time()
        if self._scheduler.continuum_clock != self.uptime_s:
            return now_s  # a virtual clock stands still while a step runs
        return max(step_s, now_s - max(0.0, time.time() - float(request.arrival_time)))

    def _has_seat(self) -> bool:
        scheduler = self._scheduler
        taken = len(scheduler.running) + scheduler.num_waiting_for_streaming_input
        return bool(taken < scheduler.max_num_active_reqs)

    def _log(self, time_s: float, program: str, turn: int, event: str, detail: dict[str, Any]) -> None:
        self._journal.decided(DecisionRecord(time_s, self.step, program, turn, event, detail))

    def _write_counts(self, *, final: bool = False) -> None:
        self._journal.write_counts(
            {
                "policy": self.governor.policy.describe(),
                "scheduler": type(self._scheduler).__name__,
                "vllm": vllm_version(),
                "time_s": self._now_s,
                "step": self.step,
                "counts": asdict(self.governor.counts),
                "programs": len(self.governor.programs),
                "pinned_programs": len(self.pins),
                "final": final,
            }
        )


def _once(complain: Callable[[str], None]) -> Callable[[str], None]:
    """Pass each complaint on only once: clients repeat their mistakes with every request."""
    heard: set[str] = set()

    def tell(text: str) -> None:
        if text not in heard and len(heard) < 100:
            heard.add(text)
            complain(text)

    return tell
