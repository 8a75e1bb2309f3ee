"""Delays between an engine and its client around every turn: not the engine's time, but part of every gap."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from continuum_sim.errors import ConfigError
from continuum_sim.validate.calibration.measure import Prompts
from continuum_sim.validate.engines.interface import Engine

TURNS = 40
"""Turns over which delays are measured."""
_GAP_S = 0.02


@dataclass(frozen=True)
class ClientDelays:
    """Samples of three delays on an idle engine, in seconds; empty if not measured."""

    submit_s: tuple[float, ...] = ()
    """From the client's call to the scheduler's queue."""
    answer_s: tuple[float, ...] = ()
    """From the last token in the engine to the client."""
    timer_s: tuple[float, ...] = ()
    """How late the client wakes up from a tool call."""

    def mean_gap_s(self) -> float:
        """Seconds by which a tool call is longer for the engine than for the client."""
        return _mean(self.answer_s) + _mean(self.timer_s) + _mean(self.submit_s)

    def mean_submit_s(self) -> float:
        """Seconds by which the engine sees an arrival late."""
        return _mean(self.submit_s)

    def mean_answer_s(self) -> float:
        """Seconds by which the client sees the last token late."""
        return _mean(self.answer_s)

    def draw_gap_s(self, rng: np.random.Generator) -> float:
        """Draw the delay of one gap from the measured ones."""
        return sum(float(rng.choice(sample)) for sample in (self.answer_s, self.timer_s, self.submit_s) if sample)

    def describe(self) -> dict[str, Any]:
        """Return the samples, and their medians for readers, as plain values for JSON."""
        fields = {"submit_s": self.submit_s, "answer_s": self.answer_s, "timer_s": self.timer_s}
        medians = {f"median_{name}": median(sample) for name, sample in fields.items() if sample}
        return {**medians, **{name: list(sample) for name, sample in fields.items()}}


def read_delays(value: object) -> ClientDelays:
    """Read back what `describe` returned; None means no delays.

    Raises
    ------
    ConfigError
        For any other value.
    """
    if value is None:
        return ClientDelays()
    try:
        assert isinstance(value, dict)
        return ClientDelays(*(tuple(map(float, value[f"{name}_s"])) for name in ("submit", "answer", "timer")))
    except (AssertionError, KeyError, TypeError, ValueError):
        shown = str(value)[:80]
        raise ConfigError(f"client delays are {shown!r}, expected lists submit_s, answer_s and timer_s") from None


async def measure_delays(engine: Engine, prompts: Prompts, turns: int = TURNS) -> ClientDelays:
    """Measure on an otherwise idle engine; empty if the engine does not report its own times."""
    loop = asyncio.get_running_loop()
    submit_s, answer_s, timer_s = [], [], []
    for _ in range(turns):
        due_s = loop.time() + _GAP_S
        await asyncio.sleep(_GAP_S)
        called_s = loop.time()
        answer = await engine.turn(prompts.request(prompts.tokens(16), 2))
        if answer.queued_s is None or answer.last_token_s is None:
            return ClientDelays()
        timer_s.append(max(0.0, called_s - due_s))
        submit_s.append(max(0.0, answer.queued_s - called_s))
        answer_s.append(max(0.0, answer.finish_s - answer.last_token_s))
    return ClientDelays(tuple(submit_s), tuple(answer_s), tuple(timer_s))


def _mean(sample: tuple[float, ...]) -> float:
    return sum(sample) / len(sample) if sample else 0.0
