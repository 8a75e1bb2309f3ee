"""What holds in every run with drafts, whatever the trace, memory and policy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from continuum_sim.engine.config import EngineConfig
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.traces.schema import Program
from support.compare import RELATIVE
from support.runs import simulate
from support.steptimes import affine
from support.strategies import cases, drafting, policies

Case = tuple[list[Program], EngineConfig]


class Watch:
    """Checks budget, blocks and tokens at every step of a stepwise run."""

    def __init__(self, config: EngineConfig) -> None:
        assert config.speculation is not None
        self.config, self.speculation = config, config.speculation
        self.got: dict[Request, int] = {}
        """Tokens that steps which are over gave each turn."""

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        self.got[request] = 0

    def on_abort(self, scheduler: Scheduler, request: Request, now_s: float) -> None:
        del self.got[request]

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        config, drafts = self.config, self.speculation.num_speculative_tokens
        tokens = {request: plan.tokens_for(request) for request in scheduler.running.values()}
        slots = self.speculation.draft_slots * sum(map(bool, tokens.values()))
        assert sum(tokens.values()) + slots <= config.max_num_batched_tokens
        batch = plan.batch
        assert batch.prefill_tokens + batch.decode_requests == sum(tokens.values())
        assert all(1 <= number <= drafts + 1 for number in plan.verified.values())
        for request, number in tokens.items():
            turn = request.drafted
            assert turn is not None
            if number:
                needed = scheduler.batch.computed(request) + number + self.speculation.num_lookahead_tokens
                assert turn.slots >= min(needed, config.max_model_len)
            assert turn.slots <= config.max_model_len
        self.check_blocks(scheduler)

    def on_advance(
        self, scheduler: Scheduler, plan: Plan, steps: int, start_s: float, end_s: float, finished: list[Request]
    ) -> None:
        assert steps == 1
        for request, number in plan.given.items():
            if request in self.got and not request.aborted:
                self.got[request] += number
        for request in finished:
            assert self.got.pop(request) == request.max_tokens
        for request in scheduler.running.values():
            assert self.got[request] < request.max_tokens, "a turn with all its tokens has ended"
        self.check_blocks(scheduler)

    def check_blocks(self, scheduler: Scheduler) -> None:
        """Every block is free, or held by a turn or a pin."""
        pool, size = scheduler.pool, self.config.block_size
        held = {}
        blank = 0
        for request in scheduler.running.values():
            assert request.drafted is not None
            stop = request.table[-1].stop if request.table else 0
            assert stop * size <= request.drafted.slots + size - 1
            blank += -(-request.drafted.slots // size) - stop
            held.update({id(run): len(run) for run in request.table})
        for program in scheduler.governor.programs:
            held.update({id(run): len(run) for run in scheduler.contexts[program].pinned})
        assert sum(held.values()) + blank + pool.free == pool.num_blocks


@settings(max_examples=25)
@given(data=st.data(), policy=policies)
def test_every_step_of_every_run(data: st.DataObject, policy: str) -> None:
    programs, config = data.draw(cases(several_groups=False))
    config = data.draw(drafting(config))
    outcome = simulate(programs, policy, config=config, step_time=affine(), observer=Watch(config))
    assert {record.program for record in outcome.programs} == {each.program_id for each in programs}
    assert outcome.simulation.scheduler.pool.free == config.usable_blocks
    for record in outcome.turns:
        needed = record.prompt_tokens + record.output_tokens - 1 - record.cached_tokens
        assert record.preemptions or record.computed_tokens == needed
        assert (record.first_token_s == record.finish_s) == (record.output_tokens == 1)
    gaps = outcome.gaps
    assert sum(gaps.number) <= sum(record.output_tokens - 1 for record in outcome.turns)
    total_s = sum(gap_s * number for gap_s, number in zip(gaps.gap_s, gaps.number, strict=True))
    lasted_s = sum(record.finish_s - record.first_token_s for record in outcome.turns)
    assert total_s == pytest.approx(lasted_s, rel=RELATIVE, abs=RELATIVE)


@settings(max_examples=8)
@given(data=st.data())
def test_a_turn_draws_the_same_whatever_else_there_is(data: st.DataObject) -> None:
    """With ample memory and budget a turn takes as many steps, alone or beside others."""
    programs, config = data.draw(cases(several_groups=False))
    config = replace(data.draw(drafting(config)), num_gpu_blocks=10_000, max_num_batched_tokens=10_000, watermark=0.0)
    config = replace(config, max_model_len=5_000, long_prefill_token_threshold=0, prefill_schedule_interval=1)
    config = replace(config, max_num_active_seqs=None, max_num_seqs=64)
    together = simulate(programs, config=config)
    for each in programs:
        alone = simulate([each], config=config)
        for record in alone.turns:
            beside = together.of(record.program, record.turn)
            assert beside.finish_s - beside.first_token_s == pytest.approx(record.finish_s - record.first_token_s)
