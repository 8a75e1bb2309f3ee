"""Outcomes of tool calls, determined by the seed, the program and the turn alone.

Whatever the policy does and in whatever order programs arrive, the same call fails the same number of times: policies
are compared on the same failures (common random numbers), and both modes of the engine see the same ones.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from continuum_sim.traces.schema import ToolCall, Turn
from continuum_sim.world.draws import generator_for
from continuum_sim.world.tools.config import ToolConfig

_STREAM: Final = 0x746F6F6C
"""Separates these draws from all others made with the same seed ("tool" in ASCII)."""


class CallPlan(NamedTuple):
    """One tool call: how long each of its tries takes, and how they end."""

    tool: str
    tries_s: tuple[float, ...]
    """Seconds that each try keeps a worker busy; all but the last try timed out or failed."""
    timeouts: int = 0
    """Tries that were cut short."""
    failures: int = 0
    """Tries that failed at their end."""

    @property
    def given_up(self) -> bool:
        """Whether the last try timed out or failed too, so that the program continues without a result."""
        return self.timeouts + self.failures == len(self.tries_s)

    @property
    def total_s(self) -> float:
        """Seconds of all tries, without waits for workers."""
        return sum(self.tries_s)


class ToolOutcomes:
    """Draws the outcomes of tool calls.

    Parameters
    ----------
    config
        Timeouts, failure rates and retries.
    seed
        Seed of the run.
    """

    def __init__(self, config: ToolConfig, seed: int = 0) -> None:
        self.config = config
        self._seed = seed

    def of_turn(self, program_id: str, index: int, turn: Turn) -> tuple[CallPlan, ...]:
        """Return the outcomes of the calls after a turn; none after the last turn."""
        if not self.config.may_retry:
            return tuple(CallPlan(call.tool, (call.tool_s,)) for call in turn.calls)
        return tuple(self._plan(program_id, index, number, call) for number, call in enumerate(turn.calls))

    def gap_s(self, program_id: str, index: int, turn: Turn) -> float:
        """Return the gap in seconds after a turn if no call had to wait for a worker; 0 after the last turn."""
        if not self.config.may_retry:
            return turn.tool_s
        return max((plan.total_s for plan in self.of_turn(program_id, index, turn)), default=0.0)

    def _plan(self, program_id: str, index: int, number: int, call: ToolCall) -> CallPlan:
        config, tool = self.config, call.tool
        tries = config.retries.of(tool) + 1
        timeout_s = config.timeout_s.of(tool)
        if call.tool_s > timeout_s:
            return CallPlan(tool, (timeout_s,) * tries, timeouts=tries)
        rate = config.failure_rate.of(tool)
        if not rate:
            return CallPlan(tool, (call.tool_s,))
        # Tries are drawn one after another, so that more retries do not change how the first ones end.
        draws = generator_for(self._seed, _STREAM, program_id, index, number).random(tries)
        good = np.flatnonzero(draws >= rate)
        failures = int(good[0]) if good.size else tries
        return CallPlan(tool, (call.tool_s,) * min(failures + 1, tries), failures=failures)
