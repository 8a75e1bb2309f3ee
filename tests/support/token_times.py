"""The time of every token of every turn, counted step by step, independently of the engine's own count."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque

from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler


class TokenTimes:
    """A `StepObserver` for stepwise runs: turn (program, index) to the times of its tokens."""

    def __init__(self) -> None:
        self.times_s: dict[tuple[str, int], list[float]] = defaultdict(list)
        self._giving: deque[list[tuple[str, int]]] = deque()
        """Turns that each step under way gives a token."""

    def on_submit(self, program_id: str, request: Request, now_s: float) -> None:
        """Ignore arrivals."""

    def on_abort(self, scheduler: Scheduler, request: Request, now_s: float) -> None:
        """Ignore turns whose clients left."""

    def on_plan(self, scheduler: Scheduler, plan: Plan, now_s: float) -> None:
        if plan.empty:
            return
        chunks = dict(plan.chunks)
        giving = [
            (request.turn.program.program_id, request.turn.index)
            for request in scheduler.running.values()
            if (request.decoding and request not in plan.skipped and not request.has_all_tokens)
            or (request in chunks and request.num_computed_tokens + chunks[request] == request.num_tokens)
        ]
        self._giving.append(giving)

    def on_advance(
        self, scheduler: Scheduler, plan: Plan, steps: int, start_s: float, end_s: float, finished: list[Request]
    ) -> None:
        assert steps == 1
        for turn in self._giving.popleft():
            self.times_s[turn].append(end_s)

    def gaps_s(self) -> list[float]:
        """Return all gaps between consecutive tokens of a turn, sorted by length."""
        times_s = self.times_s.values()
        return sorted(after - before for times in times_s for before, after in itertools.pairwise(times))
