"""The time of every token of every turn, counted step by step, independently of the engine's own count."""

from __future__ import annotations

import itertools
from collections import defaultdict

from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler


class TokenTimes:
    """A `StepObserver` for stepwise runs: turn (program, index) to the times of its tokens."""

    def __init__(self) -> None:
        self.times_s: dict[tuple[str, int], list[float]] = defaultdict(list)
        self._giving: list[tuple[str, int]] = []

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        """Ignore arrivals."""

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        chunks = dict(plan.chunks)
        self._giving = [
            (request.turn.program.program_id, request.turn.index)
            for request in scheduler.running.values()
            if (request.decoding and request not in plan.skipped)
            or (request in chunks and request.num_computed_tokens + chunks[request] == request.num_tokens)
        ]

    def on_advance(
        self, scheduler: Scheduler, plan: Plan, steps: int, start_s: float, end_s: float, finished: list[Request]
    ) -> None:
        assert steps == 1
        for turn in self._giving:
            self.times_s[turn].append(end_s)

    def gaps_s(self) -> list[float]:
        """Return all gaps between consecutive tokens of a turn, sorted by length."""
        times_s = self.times_s.values()
        return sorted(after - before for times in times_s for before, after in itertools.pairwise(times))
