"""Contexts that a retention rule sent to host memory and may want back."""

from __future__ import annotations

import math
from collections.abc import Callable

from continuum_sim.policies.host.counts import PolicyCounts
from continuum_sim.policies.host.log import DecisionLog
from continuum_sim.policies.planes import Retention
from continuum_sim.policies.views import Moment, ProgramView

OnRecall = Callable[[ProgramView, float], int | None]
"""Called with (program, time in s) for every context that shall come back from host memory; returns its blocks (0 if
nothing is left of it), or None for lack of room."""


class AwayContexts:
    """Programs in tool calls whose contexts are in host memory, for rules that recall any."""

    def __init__(self, retention: Retention, counts: PolicyCounts, log: DecisionLog) -> None:
        self._retention = retention
        self._counts = counts
        self._log = log
        self._away: dict[ProgramView, None] = {}
        self._again_s = math.inf

    def __bool__(self) -> bool:
        return bool(self._away)

    def went(self, program: ProgramView) -> None:
        """Count a context that goes to host memory, and remember it if it may be recalled."""
        self._counts.offloads += 1
        if self._retention.recalls:
            self._away[program] = None

    def forget(self, program: ProgramView) -> None:
        """Think no more of a program: its turn is here, or it has left."""
        self._away.pop(program, None)

    @property
    def again_s(self) -> float:
        """When the rule may want one of them back, as it said when last asked; may be infinite."""
        return self._again_s if self._away else math.inf

    def recall(self, moment: Moment, bring: OnRecall) -> bool:
        """Ask which of them are to come back; tells whether any began to."""
        self._again_s = math.inf
        if not self._away:
            return False
        before = self._counts.recalls
        recall = self._retention.recall(list(self._away), moment)
        self._again_s = recall.again_s
        for program in recall.bring:
            blocks = bring(program, moment.now_s)
            if blocks is None:
                continue
            del self._away[program]
            if blocks:
                self._counts.recalls += 1
                self._log.recalled(program, blocks, moment.now_s)
        return self._counts.recalls > before
