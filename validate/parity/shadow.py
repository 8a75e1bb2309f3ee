"""vLLM's scheduler, run beside the simulated one step by step as an observer of the simulation."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.offload.native import NativeConnector
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.traces.schema import Program
from continuum_sim.validate.parity.events import EVENTS, count_events
from continuum_sim.validate.parity.tokens import STOP_TOKEN, TokenStory
from continuum_sim.validate.parity.vllm_harness import (
    InOrder,
    RequestFactory,
    abort_request,
    hashed_blocks,
    make_vllm_scheduler,
    model_output,
    propose_drafts,
    tell_transferred,
)

_NOBODYS_TOKEN: Final = -1
"""Sampled for a request that has ended."""


@dataclass(frozen=True, slots=True)
class StepState:
    """One step as one of the two schedulers sees it."""

    scheduled: dict[str, int]
    """Tokens by request ("program/turn"), in scheduling order."""
    drafts: dict[str, int]
    """Drafts among them."""
    preempted: list[str]
    admitted: dict[str, int]
    """Cached tokens of the requests admitted in this step."""
    running: list[str]
    waiting: int
    free_blocks: int
    loads: tuple[tuple[str, int], ...] = ()
    """Requests and blocks that native offload begins to load in this step."""
    stores: tuple[tuple[str, int], ...] = ()
    """Those that it begins to store."""
    host_blocks: int = 0
    """Blocks in host memory."""


@dataclass(frozen=True, slots=True)
class Difference:
    """The first step in which the two disagree."""

    step: int
    now_s: float
    field: str
    simulated: StepState
    vllm: StepState
    before: StepState | None
    """The simulated state of the step before."""

    def __str__(self) -> str:
        lines = [f"step {self.step} at {self.now_s:.6f} s differs in {self.field}:"]
        for name, state in (("simulated", self.simulated), ("vLLM", self.vllm), ("before", self.before)):
            if state is not None:
                lines.append(
                    f"  {name:>9}: batch {state.scheduled} admitted {state.admitted} preempted "
                    f"{state.preempted} running {len(state.running)} waiting {state.waiting} "
                    f"free {state.free_blocks} loads {state.loads} stores {state.stores} host {state.host_blocks}"
                )
        return "\n".join(lines)


class Mismatch(Exception):
    """Ends a run at the first difference; carries it."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


@dataclass(frozen=True, slots=True)
class _Flying:
    """A step that runs: vLLM's plan, and for each of its requests whether the step gives it a token."""

    output: Any
    samples: dict[str, bool]


class VllmShadow:
    """Feeds vLLM's scheduler the same input as the simulated one, and compares every step of the two.

    A `StepObserver` for stepwise simulation. vLLM decides from token ids and block hashes, the simulator from
    counts, so the two have only the trace in common.
    """

    def __init__(
        self,
        config: EngineConfig,
        programs: Mapping[str, Program],
        *,
        scheduler_cls: type | None = None,
        additional_config: dict[str, Any] | None = None,
    ) -> None:
        self.vllm = make_vllm_scheduler(config, scheduler_cls, additional_config)
        self.steps = 0
        self.vllm_s = 0.0
        """Wall-clock seconds spent inside vLLM's scheduler (adding requests, scheduling, updating)."""
        self.events: Counter[str] = Counter(dict.fromkeys(EVENTS, 0))
        """What happened in the steps, see `EVENTS`."""
        drafts = config.drafting
        self._drafts = 0 if drafts is None else drafts.num_speculative_tokens
        self._proposes = drafts is not None and not config.async_scheduling
        self._requests = RequestFactory(
            hashed_blocks(config)[1],
            caches=config.enable_prefix_caching,
            hashed_ahead=0 if drafts is None else drafts.hash_lookahead_tokens(config.vllm_version),
        )
        self._programs = programs
        self._story = TokenStory()
        self._max_model_len = config.max_model_len
        self._flying: deque[_Flying] = deque()
        """Steps that vLLM has scheduled and not been told the outcome of."""
        self._before: StepState | None = None
        self._names: dict[Request, str] = {}
        """Names of requests; those of native offload outlive their requests in vLLM."""
        self._held: dict[str, Request] = {}
        """Requests that vLLM holds, by name."""
        self._now_s = 0.0
        if hasattr(self.vllm, "continuum_clock"):
            self.vllm.continuum_clock = lambda: self._now_s

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        """Submit the same turn to vLLM."""
        self._now_s = now_s
        program = self._programs[program_id]
        extra = {"program_id": program_id, "tool": request.tool, "last_turn": request.last, "parent": request.parent}
        name = _name(request)
        prompt = self._story.prompt(program, request.prompt_tokens, request.kept_tokens)
        most_tokens, stop = (
            (self._max_model_len - len(prompt), STOP_TOKEN) if request.stops else (request.max_tokens, None)
        )
        made = self._requests.make(name, prompt, most_tokens, extra, stop, request.priority)
        self._held[name] = request
        self._names[request] = name
        self.events["held_arrivals"] += bool(self._flying)
        start_s = time.perf_counter()
        self.vllm.add_request(made)
        self.vllm_s += time.perf_counter() - start_s

    def on_abort(self, scheduler: Scheduler, request: Request, now_s: float) -> None:
        """Abort the same turn in vLLM."""
        self._now_s = now_s
        self.events["aborts"] += 1
        name = _name(request)
        abort_request(self.vllm, name)
        del self._held[name]

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        """Schedule the same step with vLLM and compare."""
        self._now_s = now_s
        self._tell_transferred(scheduler)
        running_before = [request.request_id for request in self.vllm.running]
        start_s = time.perf_counter()
        output = self.vllm.schedule()
        self.vllm_s += time.perf_counter() - start_s
        self.steps += 1
        ours = self._simulated(scheduler, plan)
        drafts = output.scheduled_spec_decode_tokens
        theirs = self._real(output.num_scheduled_tokens, drafts, running_before, output.kv_connector_metadata)
        self.vllm.finished_req_ids = InOrder()
        for field in StepState.__dataclass_fields__:
            one, other = getattr(ours, field), getattr(theirs, field)
            if one != other or (isinstance(one, dict) and list(one) != list(other)):
                raise Mismatch(Difference(self.steps, now_s, field, ours, theirs, self._before))
        self._before = ours
        count_events(self.events, scheduler, plan, self._held.values())
        if plan.empty:
            self.vllm.update_from_output(output, model_output({}))
        else:
            samples = {name: not self.vllm.requests[name].is_prefill_chunk for name in output.num_scheduled_tokens}
            self._flying.append(_Flying(output, samples))

    def on_advance(
        self,
        scheduler: Scheduler,
        plan: Plan,
        steps: int,
        start_s: float,
        end_s: float,
        finished: list[Request],
    ) -> None:
        """Give vLLM the step's samples, and compare which turns ended and what memory is left."""
        assert steps == 1, "parity compares step by step; run the simulation stepwise"
        self._now_s = end_s
        flying = self._flying.popleft()
        made = model_output({name: self._sample(name, plan) if due else [] for name, due in flying.samples.items()})
        wall_s = time.perf_counter()
        self.vllm.update_from_output(flying.output, made)
        if self._proposes:
            propose_drafts(self.vllm, list(flying.samples), self._drafts)
        self.vllm_s += time.perf_counter() - wall_s
        for request in finished:
            name = _name(request)
            if name in self.vllm.requests:
                state = self._state(scheduler)
                raise Mismatch(Difference(self.steps, end_s, f"end of {name}", state, state, self._before))
            del self._held[name]
            if request.last:
                self._story.forget(request.turn.program.program_id)
        free = self.vllm.kv_cache_manager.block_pool.get_num_free_blocks()
        if sum(self.vllm.get_request_counts()) != scheduler.num_running + scheduler.num_waiting or (
            free != scheduler.pool.free
        ):
            ours = self._state(scheduler)
            theirs = self._real({}, {}, [request.request_id for request in self.vllm.running])
            raise Mismatch(Difference(self.steps, end_s, "state after the step", ours, theirs, self._before))
        if self._drafts:
            self._compare_computed(scheduler, end_s)

    def _compare_computed(self, scheduler: Scheduler, now_s: float) -> None:
        """Compare the tokens that each running turn has once rejected drafts are taken back."""
        ours = {_name(request): scheduler.batch.computed(request) for request in scheduler.running.values()}
        theirs = {request.request_id: request.num_computed_tokens for request in self.vllm.running}
        if ours != theirs:
            one, other = (replace(self._state(scheduler), scheduled=computed) for computed in (ours, theirs))
            raise Mismatch(Difference(self.steps, now_s, "computed tokens after the step", one, other, self._before))

    def _sample(self, name: str, plan: Plan) -> list[int]:
        request = self.vllm.requests.get(name)
        if request is None:
            self.events["wasted_tokens"] += 1  # it has ended, as vLLM did not foresee
            return [_NOBODYS_TOKEN]
        simulated = self._held[name]
        program_id, sampled = name.rpartition("/")[0], request.num_output_tokens
        tokens = []
        for number in range(sampled + 1, sampled + 1 + plan.tokens_given_to(simulated)):
            stops = simulated.stops and number == simulated.max_tokens
            tokens.append(self._story.sample(program_id, stops=stops))
        if simulated.drafted is not None:
            accepted = len(tokens) - 1
            verified = plan.verified.get(simulated, 1) - 1
            if sampled + len(tokens) == simulated.max_tokens:
                tokens += [_NOBODYS_TOKEN] * (verified - accepted)  # accepted behind the last token
            self.events["accepted_drafts"] += accepted
            self.events["rejected_drafts"] += verified + plan.padded.get(simulated, 0) - len(tokens) + 1
            self.events["cut_drafts"] += len(tokens) - 1 - accepted
        return tokens

    def _tell_transferred(self, scheduler: Scheduler) -> None:
        """Report the transfers to vLLM that ended before the step that is about to be planned."""
        connector = scheduler.connector
        if not isinstance(connector, NativeConnector):
            return
        done, connector.completed = connector.completed, []
        if done:
            loaded = [self._names[transfer.request] for transfer in done if transfer.loads]
            start_s = time.perf_counter()
            tell_transferred(self.vllm, [transfer.number for transfer in done], loaded)
            self.vllm_s += time.perf_counter() - start_s

    def _simulated(self, scheduler: Scheduler, plan: Plan) -> StepState:
        scheduled = {_name(request): plan.tokens_for(request) for request in scheduler.running.values()}
        state = self._state(scheduler)
        connector = scheduler.connector
        if isinstance(connector, NativeConnector):
            moved = [(each.loads, (_name(each.request), each.blocks)) for each in connector.new_transfers]
            state = replace(
                state,
                loads=tuple(one for loads, one in moved if loads),
                stores=tuple(one for loads, one in moved if not loads),
                host_blocks=connector.host.used_blocks,
            )
        drafts = {**{request: n - 1 for request, n in plan.verified.items()}, **plan.padded}
        return replace(
            state,
            drafts={_name(request): number for request, number in drafts.items() if number},
            scheduled={name: tokens for name, tokens in scheduled.items() if tokens},
            preempted=sorted(_name(request) for request in plan.preempted),
            admitted={_name(request): request.num_computed_tokens for request in plan.admitted},
        )

    def _state(self, scheduler: Scheduler) -> StepState:
        running = [_name(request) for request in scheduler.running.values()]
        return StepState({}, {}, [], {}, running, scheduler.num_waiting, scheduler.pool.free)

    def _real(
        self,
        scheduled: dict[str, int],
        drafts: dict[str, list[int]],
        running_before: list[str],
        transfers: Any = None,
    ) -> StepState:
        running = [request.request_id for request in self.vllm.running]
        admitted = {}
        for name in running:
            if name not in running_before:
                request = self.vllm.requests[name]
                admitted[name] = request.num_computed_tokens - scheduled[name]
        return StepState(
            dict(scheduled),
            {name: len(tokens) for name, tokens in drafts.items()},
            sorted(name for name in running_before if name not in running),
            admitted,
            running,
            self.vllm.get_request_counts()[1],
            self.vllm.kv_cache_manager.block_pool.get_num_free_blocks(),
            *((), (), 0) if transfers is None else self._transfers(transfers),
        )

    def _transfers(self, transfers: Any) -> tuple[tuple[tuple[str, int], ...], tuple[tuple[str, int], ...], int]:
        """Return what vLLM's connector begins to load and store, and how many blocks it has in host memory."""
        manager = self.vllm.connector.connector_scheduler.manager
        loads = [(job.req_id, len(job.dst_spec.block_ids)) for job in transfers.load_jobs.values()]
        stores = [(job.req_id, len(job.src_spec.block_ids)) for job in transfers.store_jobs.values()]
        held = manager._num_allocated_chunks - len(manager._free_list)
        return tuple(loads), tuple(stores), held


def _name(request: Request) -> str:
    tried = f"!{request.aborts}" if request.aborts else ""
    return f"{request.turn.program.program_id}/{request.turn.index}{tried}"
