"""Tool calls in simulated time: each waits for a worker, holds it for a try, and queues again for the next."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import simpy

from continuum_sim.engine.clock import Clock, instant_number
from continuum_sim.world.tools.config import ToolConfig
from continuum_sim.world.tools.outcomes import CallPlan


@dataclass(slots=True)
class ToolTotals:
    """Outcomes of all calls of a run."""

    calls: int = 0
    tries: int = 0
    timeouts: int = 0
    failures: int = 0
    given_up: int = 0
    """Calls of which no try succeeded."""
    waits: int = 0
    """Tries that found every worker busy."""
    wait_s: float = 0.0
    """Seconds that these waited, summed."""


class Gap(NamedTuple):
    """A finished gap."""

    end_s: float
    tool_s: float
    """Seconds that the call that ended last was running."""
    wait_s: float
    """Seconds that this call waited for workers."""


class _Pool(simpy.Resource):
    """Workers of one kind, first come, first served."""

    def __init__(self, env: Clock, workers: int) -> None:
        super().__init__(env, workers)
        self.freed_s = 0.0
        """When a worker was last released, on the engine's clock; SimPy's runs slightly ahead of it."""


class ToolRunner:
    """The workers of a run, and counts of what they did."""

    def __init__(self, env: Clock, config: ToolConfig) -> None:
        self._env = env
        self._pools = {tool: _pool(env, workers) for tool, workers in config.workers.named.items()}
        self._shared = _pool(env, config.workers.others)
        self.totals = ToolTotals()

    def run(self, calls: Sequence[CallPlan], start_s: float) -> Generator[simpy.Event, Any, Gap]:
        """Run the calls of one gap, all made at once."""
        for call in calls:
            self._count(call)
        if len(calls) == 1:
            return (yield from self._call(calls[0], start_s))
        ended = yield self._env.all_of([self._env.process(self._call(call, start_s)) for call in calls])
        gaps: list[Gap] = list(ended.values())
        # Of calls that end together, the one that waited least stands for the gap.
        last = max(gaps, key=lambda gap: (instant_number(gap.end_s), gap.tool_s))
        end_s = max(gap.end_s for gap in gaps)
        return Gap(end_s, end_s - start_s - last.wait_s, last.wait_s)

    def _call(self, call: CallPlan, now_s: float) -> Generator[simpy.Event, Any, Gap]:
        pool = self._pools.get(call.tool, self._shared)
        start_s = now_s
        if pool is None:
            end_s = now_s + call.total_s
            yield self._env.after(now_s, call.total_s)
            return Gap(end_s, end_s - start_s, 0.0)
        wait_s = 0.0
        for try_s in call.tries_s:
            with pool.request() as worker:
                if not worker.triggered:
                    asked_s = now_s
                    yield worker
                    now_s = max(now_s, pool.freed_s)
                    wait_s += now_s - asked_s
                    self.totals.waits += 1
                ended = self._env.after(now_s, try_s)
                now_s += try_s
                yield ended
                pool.freed_s = now_s
        self.totals.wait_s += wait_s
        return Gap(now_s, now_s - start_s - wait_s, wait_s)

    def _count(self, call: CallPlan) -> None:
        totals = self.totals
        totals.calls += 1
        totals.tries += len(call.tries_s)
        totals.timeouts += call.timeouts
        totals.failures += call.failures
        totals.given_up += call.given_up


def _pool(env: Clock, workers: float) -> _Pool | None:
    return None if math.isinf(workers) else _Pool(env, int(workers))
