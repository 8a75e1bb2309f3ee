"""The gaps between consecutive output tokens of all turns (inter-token latency), recorded as the engines run."""

from __future__ import annotations

from array import array

from continuum_sim.engine.plan import Plan
from continuum_sim.engine.request import Request
from continuum_sim.engine.scheduler import Scheduler


class TokenGaps:
    """Gaps by length: each row has a length in s, the number of such gaps, and when the last of them ended.

    Every decoding turn of a batch gets one token per step (with drafts one or more, at once), so a stretch of equal
    steps is one row, and the length of its gaps is the mean step time. A stretch lasts as long as the batch stays the
    same, so fast and stepwise mode make the same rows.

    Parameters
    ----------
    ends
        Whether to record when gaps ended.
    """

    def __init__(self, *, ends: bool = False) -> None:
        self._ends = ends
        self.gap_s = array("d")
        self.number = array("q")
        self.end_s = array("d")
        """Empty unless `ends` was set."""

    def add(self, gap_s: float, number: int, end_s: float) -> None:
        """Add a row of gaps of one length."""
        self.gap_s.append(gap_s)
        self.number.append(number)
        if self._ends:
            self.end_s.append(end_s)


class EngineGaps:
    """Records the gaps of one engine from its steps."""

    def __init__(self, gaps: TokenGaps) -> None:
        self._gaps = gaps
        self._start_s = self._end_s = 0.0
        self._steps = 0
        self._requests = 0
        self._prefill_tokens = 0
        """With the four above: the current stretch of equal steps without a pause."""
        self._behind: list[Request] = []
        """Running turns that were left out of the last step; their gaps began before it."""

    def steps(self, scheduler: Scheduler, plan: Plan, steps: int, start_s: float, end_s: float) -> None:
        """Record `steps` equal steps that have run."""
        batch = plan.batch
        requests = plan.decodes - plan.wasted_tokens
        if plan.skipped or self._behind or scheduler.batch.resumed_s:
            self._single(scheduler, plan, steps, start_s, end_s)
        elif start_s == self._end_s and requests == self._requests and batch.prefill_tokens == self._prefill_tokens:
            self._steps += steps
            self._end_s = end_s
        else:
            self.close()
            self._start_s, self._end_s = start_s, end_s
            self._steps, self._requests, self._prefill_tokens = steps, requests, batch.prefill_tokens

    def add(self, gap_s: float, number: int, end_s: float) -> None:
        """Record equal gaps that end at once."""
        self._gaps.add(gap_s, number, end_s)

    def close(self) -> None:
        """Record the current stretch, if any."""
        if self._steps and self._requests:
            self._gaps.add((self._end_s - self._start_s) / self._steps, self._steps * self._requests, self._end_s)
        self._steps = 0
        self._end_s = -1.0

    def _single(self, scheduler: Scheduler, plan: Plan, steps: int, start_s: float, end_s: float) -> None:
        """Record steps after which gaps differ in length, because of a preemption or turns that were left out."""
        self.close()
        for gap_s in scheduler.batch.resumed_s:  # of turns that resumed after a preemption
            self._gaps.add(gap_s, 1, end_s)
        scheduler.batch.resumed_s.clear()
        step_s = (end_s - start_s) / steps
        number = steps * (plan.decodes - plan.wasted_tokens)
        behind = self._behind
        self._behind = []
        late = [request for _, request in plan.late]
        for request in behind:
            shown = request.preempted_from_s < 0 or request in late
            if shown and not request.aborted and request not in plan.skipped:
                self._gaps.add(request.behind_s + step_s, 1, end_s)
                request.behind_s = 0.0
                number -= 1
        for request in plan.skipped:
            # If it has ended, the step before gave it its last token; if it is preempted, its wait counts from then on.
            if request.finish_s < 0 and request.preempted_from_s < 0:
                request.behind_s += end_s - start_s
                self._behind.append(request)
        if number:
            self._gaps.add(step_s, number, end_s)


class PipelinedGaps(EngineGaps):
    """Records the gaps of an engine with several pipeline stages: each since the turn's own latest token."""

    def steps(self, scheduler: Scheduler, plan: Plan, steps: int, start_s: float, end_s: float) -> None:
        """Record one step that has run."""
        scheduler.batch.resumed_s.clear()
        numbers: dict[float, int] = {}
        for request, tokens in plan.given.items():
            flight = request.flight
            if flight is None or not tokens:
                continue
            if flight.last_token_s >= 0:
                gap_s = end_s - flight.last_token_s
                numbers[gap_s] = numbers.get(gap_s, 0) + 1
            flight.last_token_s = end_s
        for gap_s, number in numbers.items():
            self._gaps.add(gap_s, number, end_s)


def make_gaps(gaps: TokenGaps, *, pipelined: bool) -> EngineGaps:
    """Return what records the gaps of one engine."""
    return PipelinedGaps(gaps) if pipelined else EngineGaps(gaps)
