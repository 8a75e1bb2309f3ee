"""vLLM's scheduler, run beside the simulated one step by step as an observer of the simulation."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.traces.schema import Program
from continuum_sim.validate.parity.tokens import TokenStory
from continuum_sim.validate.parity.vllm_harness import RequestFactory, make_vllm_scheduler, model_output


@dataclass(frozen=True, slots=True)
class StepState:
    """One step as one of the two schedulers sees it."""

    scheduled: dict[str, int]
    """Tokens by request ("program/turn"), in scheduling order."""
    preempted: list[str]
    admitted: dict[str, int]
    """Cached tokens of the requests admitted in this step."""
    running: list[str]
    waiting: int
    free_blocks: int


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
                    f"free {state.free_blocks}"
                )
        return "\n".join(lines)


class Mismatch(Exception):
    """Ends a run at the first difference; carries it."""

    def __init__(self, difference: Difference) -> None:
        super().__init__(str(difference))
        self.difference = difference


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
        self._requests = RequestFactory(config.block_size)
        self._programs = programs
        self._story = TokenStory()
        self._output: Any = None
        self._before: StepState | None = None
        self._sampled: dict[str, int] = {}
        self._now_s = 0.0
        if hasattr(self.vllm, "continuum_clock"):
            self.vllm.continuum_clock = lambda: self._now_s

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        """Submit the same turn to vLLM."""
        self._now_s = now_s
        index = request.turn.index
        program = self._programs[program_id]
        extra = {"program_id": program_id, "tool": request.tool, "last_turn": request.last, "parent": request.parent}
        made = self._requests.make(_name(request), self._story.prompt(program, index), request.max_tokens, extra)
        start_s = time.perf_counter()
        self.vllm.add_request(made)
        self.vllm_s += time.perf_counter() - start_s

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        """Schedule the same step with vLLM and compare."""
        self._now_s = now_s
        running_before = [request.request_id for request in self.vllm.running]
        start_s = time.perf_counter()
        self._output = self.vllm.schedule()
        self.vllm_s += time.perf_counter() - start_s
        self.steps += 1
        ours = self._simulated(scheduler, plan)
        theirs = self._real(running_before)
        for field in StepState.__dataclass_fields__:
            one, other = getattr(ours, field), getattr(theirs, field)
            if one != other or (isinstance(one, dict) and list(one) != list(other)):
                raise Mismatch(Difference(self.steps, now_s, field, ours, theirs, self._before))
        self._before = ours
        if plan.empty:
            self.vllm.update_from_output(self._output, model_output({}))

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
        sampled = {}
        for name in self._output.num_scheduled_tokens:
            request = self.vllm.requests[name]
            done = request.num_computed_tokens >= request.num_tokens
            sampled[name] = [self._story.sample(name.rpartition("/")[0])] if done else []
        made = model_output(sampled)
        wall_s = time.perf_counter()
        self.vllm.update_from_output(self._output, made)
        self.vllm_s += time.perf_counter() - wall_s
        for request in finished:
            name = _name(request)
            if name in self.vllm.requests:
                state = self._simulated(scheduler, plan)
                raise Mismatch(Difference(self.steps, end_s, f"end of {name}", state, state, self._before))
            if request.last:
                self._story.forget(request.turn.program.program_id)
        free = self.vllm.kv_cache_manager.block_pool.get_num_free_blocks()
        if len(self.vllm.requests) != scheduler.num_running + scheduler.num_waiting or free != scheduler.pool.free:
            ours = self._simulated(scheduler, plan)
            theirs = self._real([])
            raise Mismatch(Difference(self.steps, end_s, "state after the step", ours, theirs, self._before))

    def _simulated(self, scheduler: Scheduler, plan: Plan) -> StepState:
        chunks = {_name(request): tokens for request, tokens in plan.chunks}
        skipped = {_name(request) for request in plan.skipped}
        scheduled = {}
        for request in scheduler.running.values():
            name = _name(request)
            if name in chunks:
                scheduled[name] = chunks[name]
            elif request.decoding and name not in skipped:
                scheduled[name] = 1
        admitted = {_name(request): request.num_computed_tokens for request in plan.admitted}
        return StepState(
            scheduled,
            sorted(_name(request) for request in plan.preempted),
            admitted,
            [_name(request) for request in scheduler.running.values()],
            scheduler.num_waiting,
            scheduler.pool.free,
        )

    def _real(self, running_before: list[str]) -> StepState:
        output = self._output
        running = [request.request_id for request in self.vllm.running]
        admitted = {}
        for name in running:
            if name not in running_before:
                request = self.vllm.requests[name]
                admitted[name] = request.num_computed_tokens - output.num_scheduled_tokens[name]
        return StepState(
            dict(output.num_scheduled_tokens),
            sorted(name for name in running_before if name not in running),
            admitted,
            running,
            len(self.vllm.waiting),
            self.vllm.kv_cache_manager.block_pool.get_num_free_blocks(),
        )


def _name(request: Request) -> str:
    return f"{request.turn.program.program_id}/{request.turn.index}"
