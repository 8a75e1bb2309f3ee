"""Fast mode with several stages: batches that only decode take turns, and nobody need ask the scheduler which is next.

While nothing else happens, each batch of turns is planned again when its tokens are there, or as many calls of
`schedule` later as there are stages with steps planned ahead. `Rounds` carries this out step by step, with the very
times, blocks and reports of stepwise mode, and counts what it did for every turn at the end. It stops before anything
that might differ: an event of the simulation or of the policy, a last token, scarce blocks. Stepwise mode goes on from
there, so it may stop early.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from continuum_sim.engine.jump import Report
from continuum_sim.engine.pipeline.batch import flight
from continuum_sim.engine.pipeline.stages import Pipeline
from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler
from continuum_sim.engine.token_gaps import EngineGaps
from continuum_sim.policies.instants import SAME_INSTANT_S
from continuum_sim.steptime.batch import StepBatch

_AT_LEAST: Final = 2
"""Plans that every batch must have left before any of its turns gets a last token: a call may plan one twice."""
_MARGIN_S: Final = 4 * SAME_INSTANT_S
"""Seconds before an event from which on stepwise mode decides what comes first."""


class _Cohort:
    """Turns that are always planned together."""

    def __init__(self, turns: Sequence[Request], block_size: int) -> None:
        self.turns = turns
        self.number = len(turns)
        self.context_tokens = self.number
        self.left = 1 << 60
        """Plans until one gives some turn its last token, or the last that its client waits for."""
        self._residues = [0] * block_size
        self._block_size = block_size
        for request in turns:
            self.context_tokens += request.num_computed_tokens
            self.left = min(self.left, request.max_tokens - request.num_output_tokens - 1)
            if request.wanted_tokens > request.num_output_tokens:
                self.left = min(self.left, request.wanted_tokens - request.num_output_tokens - 1)
            self._residues[-request.num_computed_tokens % block_size] += 1
        at = flight(turns[0])
        self.under_way = at.output_placeholders
        self.eligible_step = at.eligible_step
        self.planned = 0
        self.over = 0
        self.hashed = -1
        """Tokens beyond those computed at first whose full blocks vLLM has cached; -1 for no more."""
        self.last_token_s = -1.0

    def plan(self) -> tuple[StepBatch, int]:
        """Plan a step; return it and the blocks it takes."""
        batch = StepBatch(0, 0, 0, 0, self.number, self.context_tokens)
        blocks = self._residues[self.planned % self._block_size]
        self.hashed = max(self.hashed, self.planned + 1 - self.under_way)
        self.context_tokens += self.number
        self.planned += 1
        self.under_way += 1
        self.left -= 1
        return batch, blocks


class Rounds:
    """The batches of an engine that take turns."""

    def __init__(self, scheduler: Scheduler, pipeline: Pipeline, report: Report, gaps: EngineGaps | None) -> None:
        self._scheduler = scheduler
        self._pipeline = pipeline
        self._report = report
        self._gaps = gaps
        self._ahead = scheduler.config.async_scheduling
        self._stages = scheduler.config.pipeline_parallel_size

    def carry_out(self, now_s: float, next_s: float) -> float:
        """Carry out steps that are over before `next_s`; return the end of the last, when as many are planned again."""
        scheduler = self._scheduler
        limit_s = min(next_s, scheduler.next_event_s()) - _MARGIN_S
        if scheduler.plans[0].end_s >= limit_s or not self._settled():
            return now_s
        cohorts = self._cohorts()
        if not cohorts:
            return now_s
        return self._carry_out(cohorts, now_s, limit_s)

    def _settled(self) -> bool:
        """Return whether all that the engine has to do is to decode."""
        scheduler = self._scheduler
        batch, manager = scheduler.batch, scheduler.kv_cache_manager
        if scheduler.waiting.queued or batch.prefilling or scheduler.leaving or scheduler.reloading:
            return False
        if manager.grouped or scheduler.cadence.active or scheduler.governor.reviews:
            return False
        for plan in scheduler.plans:
            if plan.chunks or plan.ended or plan.late or plan.hung_up or plan.wasted_tokens or plan.changed:
                return False
        return len(scheduler.plans) == scheduler.most_plans

    def _cohorts(self) -> list[_Cohort]:
        """Return the batches in the order of their oldest steps under way; none if some would join or part."""
        scheduler = self._scheduler
        found: list[_Cohort] = []
        of: dict[Request, _Cohort] = {}
        turns = 0
        for plan in scheduler.plans:
            if plan.empty:
                continue
            known = of.get(next(iter(plan.verified)))
            if known is None:
                known = _Cohort(list(plan.verified), scheduler.block_size)
                found.append(known)
                turns += known.number
                of.update(dict.fromkeys(known.turns, known))
            if known.turns != list(plan.verified):
                return []
        if turns != len(scheduler.running) or len(of) != turns:
            return []
        due = {max(one.eligible_step, self._scheduler.batch.calls + 1) % self._stages for one in found}
        return found if not self._ahead or len(due) == len(found) else []

    def _carry_out(self, cohorts: list[_Cohort], now_s: float, limit_s: float) -> float:
        scheduler, pool, gaps = self._scheduler, self._scheduler.pool, self._gaps
        plans, most, ahead = scheduler.plans, scheduler.most_plans, self._ahead
        calls, most_taken = scheduler.batch.calls, _AT_LEAST * len(scheduler.running)
        of = {id(plan): one for one in cohorts for plan in plans if not plan.empty and one.turns[0] in plan.verified}
        empty = Plan()
        while plans[0].end_s < limit_s and pool.free >= most_taken:
            if min([one.left for one in cohorts]) < _AT_LEAST:
                break
            oldest = plans.popleft()
            cohort, end_s = of.pop(id(oldest)), max(now_s, oldest.end_s)
            scheduler.step += 1
            cohort.over += 1
            cohort.under_way -= 1
            if ahead:
                cohort.hashed = max(cohort.hashed, cohort.planned - cohort.under_way)
            while plans and plans[0].empty:
                plans.popleft()
            self._tell(oldest, cohort, gaps, now_s, end_s)
            now_s, free = end_s, None if ahead else cohort
            while len(plans) < most:
                calls += 1
                due = free
                if ahead:
                    for one in cohorts:
                        if one.eligible_step <= calls:
                            due = one
                if due is None:
                    if plans:
                        plans.append(empty)
                    continue
                free = None
                plan = Plan()
                plan.batch, blocks = due.plan()
                plan.empty, plan.decodes = False, due.number
                if blocks:
                    pool.allocate(blocks)
                ready_s = now_s
                if ahead:
                    due.eligible_step = calls + self._stages
                    ready_s = max(now_s, self._pipeline.tokens_ready_s(calls))
                plan.end_s = self._pipeline.enter(plan.batch, ready_s)
                if ahead:
                    self._pipeline.samples(calls, plan.end_s)
                of[id(plan)] = due
                plans.append(plan)
        self._count(cohorts, of, calls)
        return now_s

    def _tell(self, plan: Plan, cohort: _Cohort, gaps: EngineGaps | None, start_s: float, end_s: float) -> None:
        """Report a step that has run, and the gaps that its tokens end."""
        plan.given = dict.fromkeys(cohort.turns, 1) if cohort.last_token_s < 0 else {}
        self._report(plan, 1, start_s, end_s, [])
        if gaps is not None and cohort.last_token_s >= 0:
            gaps.add(end_s - cohort.last_token_s, cohort.number, end_s)
        cohort.last_token_s = end_s

    def _count(self, cohorts: Sequence[_Cohort], of: dict[int, _Cohort], calls: int) -> None:
        """Count for every turn what its steps have computed."""
        scheduler = self._scheduler
        batch = scheduler.batch
        batch.calls = calls
        for plan in scheduler.plans:
            if not plan.empty:
                plan.verified = dict.fromkeys(of[id(plan)].turns, 1)
                plan.given = dict(plan.verified)
        for cohort in cohorts:
            for request in cohort.turns:
                at = flight(request)
                if cohort.hashed >= 0:
                    at.hashed_tokens = max(at.hashed_tokens, request.num_computed_tokens + cohort.hashed)
                batch.compute(request, cohort.planned)
                request.num_output_tokens += cohort.planned
                at.in_flight_tokens += cohort.planned - cohort.over
                at.output_placeholders = cohort.under_way
                at.eligible_step = cohort.eligible_step
                if cohort.last_token_s >= 0:
                    at.last_token_s = cohort.last_token_s
        scheduler.kv_cache_manager.note_peak()
