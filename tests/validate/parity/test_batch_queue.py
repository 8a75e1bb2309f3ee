"""When a pipelined engine plans: against vLLM's own loop, `EngineCore.step_with_batch_queue`, on stages of given times.

`parity` lets vLLM's scheduler plan whenever the simulator does; here vLLM decides when, and how many are under way.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.pipeline.stages import Pipeline, StageTimes
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.steptime.batch import prefill_of
from continuum_sim.traces.schema import STOP, Program, Turn
from continuum_sim.validate.parity.tokens import STOP_TOKEN
from continuum_sim.validate.parity.vllm_harness import RequestFactory, make_vllm_scheduler, model_output
from support.runs import simulate
from support.steptimes import constant

Planned = tuple[float, dict[str, int]]
"""When a step was planned, and the tokens of each program in it."""


class _Plans:
    """Records the steps that the simulated engine plans."""

    def __init__(self) -> None:
        self.planned: list[Planned] = []

    def on_submit(self, *_: object) -> None: ...

    def on_abort(self, *_: object) -> None: ...

    def on_advance(self, *_: object) -> None: ...

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        if not plan.empty:
            tokens = {r.turn.program.program_id: plan.tokens_for(r) for r in scheduler.running.values()}
            self.planned.append((round(now_s, 6), {name: number for name, number in tokens.items() if number}))


class _Core:
    """Stands in for `EngineCore`: vLLM's scheduler, and an executor whose results come when a pipeline's would."""

    def __init__(self, programs: list[Program], config: EngineConfig, times: StageTimes) -> None:
        from vllm.v1.engine.core import EngineCore

        self.now_s = 0.0
        self.planned: list[Planned] = []
        self._programs = {program.program_id: program for program in programs}
        self._pipeline, self._ahead = Pipeline(times), config.async_scheduling
        self._scheduler = make_vllm_scheduler(config)
        self._made = RequestFactory(config.block_size)
        self._longest = config.max_model_len
        self._step = EngineCore.step_with_batch_queue
        self._core = SimpleNamespace(
            batch_queue=deque(maxlen=config.max_concurrent_batches),
            batch_queue_size=config.max_concurrent_batches,
            scheduler=self._scheduler,
            model_executor=SimpleNamespace(execute_model=self._execute, sample_tokens=lambda *_, **__: self._sampled),
            is_mm_encoder_only=False,
            is_pooling_model=False,
            check_for_draft_tokens=False,
            log_error_detail=lambda _: nullcontext(),
            capture_iteration_details=lambda _: nullcontext(),
            _should_throttle_prefills=lambda: False,
            _process_aborts_queue=lambda: None,
            _attach_iteration_details=lambda *_: None,
            _attach_weight_version=lambda *_: None,
        )

    def run(self) -> None:
        """Serve the programs, each of one turn."""
        due = deque(sorted(self._programs.values(), key=lambda program: program.arrival_s or 0.0))
        while due or self._scheduler.has_unfinished_requests() or self._core.batch_queue:
            if not self._scheduler.has_unfinished_requests() and not self._core.batch_queue:
                self.now_s = max(self.now_s, due[0].arrival_s or 0.0)
            while due and (due[0].arrival_s or 0.0) <= self.now_s + 1e-9:
                program = due.popleft()
                prompt = [1 + len(due) * 10_000 + at for at in range(program.turns[0].input_tokens)]
                stops = program.turns[0].finish == STOP
                most = self._longest - len(prompt) if stops else program.turns[0].output_tokens
                name = program.program_id
                self._scheduler.add_request(self._made.make(name, prompt, most, None, STOP_TOKEN if stops else None))
            self._step(self._core)

    def _execute(self, output: Any, **_: object) -> Future[Any]:
        tokens = dict(output.num_scheduled_tokens)
        samples = {name: not self._scheduler.requests[name].is_prefill_chunk for name in tokens}
        end_s = self.now_s
        if tokens:
            self.planned.append((round(self.now_s, 6), tokens))
            call = self._scheduler.current_step
            ready_s = max(end_s, self._pipeline.tokens_ready_s(call)) if self._ahead else end_s
            end_s = self._pipeline.enter(prefill_of(1), ready_s)
            if any(samples.values()):
                self._pipeline.samples(call, end_s)
        future = _Result(self, end_s, samples)
        self._sampled: Future[Any] = future
        return future

    def sample(self, name: str) -> list[int]:
        """Return the next token of a request: the one that ends it when the trace says so."""
        request = self._scheduler.requests.get(name)
        ends = request is not None and request.num_output_tokens + 1 == self._programs[name].turns[0].output_tokens
        return [STOP_TOKEN if ends and self._programs[name].turns[0].finish == STOP else 7]


class _Result(Future[Any]):
    """The output of a step; waiting for it moves the clock."""

    def __init__(self, core: _Core, end_s: float, samples: dict[str, bool]) -> None:
        super().__init__()
        self._core, self._end_s, self._samples = core, end_s, samples

    def result(self, timeout: float | None = None) -> Any:
        self._core.now_s = max(self._core.now_s, self._end_s)
        return model_output({name: self._core.sample(name) if due else [] for name, due in self._samples.items()})


@pytest.mark.engine
@pytest.mark.parametrize("ahead", [False, True])
@pytest.mark.parametrize("stages", [2, 3, 4])
def test_steps_are_planned_when_vllm_plans_them(stages: int, ahead: bool) -> None:
    pytest.importorskip("vllm")
    for seed in range(4):
        rng = np.random.default_rng([stages, seed])
        times = StageTimes([constant(round(float(step_s), 3)) for step_s in 0.01 + 0.03 * rng.random(stages)])
        arrivals_s = np.sort(np.round(rng.random(14) * rng.choice([0.0, 2.0, 8.0]), 4))
        finishes = rng.choice([STOP, "max_tokens"], 14)
        programs = [
            Program(
                f"p{n}",
                (Turn(int(rng.integers(1, 700)), 0, int(rng.integers(1, 60)), finish=str(finish)),),
                float(at_s),
            )
            for n, (at_s, finish) in enumerate(zip(arrivals_s, finishes, strict=True))
        ]
        config = EngineConfig(
            num_gpu_blocks=4000,
            max_num_batched_tokens=256,
            max_num_seqs=int(rng.choice([3, 64])),
            max_model_len=2048,
            pipeline_parallel_size=stages,
            async_scheduling=ahead,
        )
        ours, theirs = _Plans(), _Core(programs, config, times)
        simulate(programs, config=config, step_time=times, observer=ours)
        theirs.run()
        assert ours.planned == theirs.planned
