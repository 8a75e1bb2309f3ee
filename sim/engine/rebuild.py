"""R(C): the time to rebuild a lost context of C tokens, as policies see it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from continuum_sim.engine.pipeline.stages import StageTimes
from continuum_sim.steptime.batch import prefill_of
from continuum_sim.steptime.model import StepTime

_SAMPLES = 16


@dataclass(frozen=True)
class RebuildTime:
    """Quadratic in the context length: constant + linear·C + quadratic·C² seconds, never negative.

    Continuum weighs a pin against such a quadratic fit of full prefill time in tokens (arXiv 2511.02230).
    """

    constant_s: float
    linear_s: float
    quadratic_s: float

    def __call__(self, context_tokens: int) -> float:
        """Return the seconds to prefill a context of `context_tokens` tokens on an otherwise idle engine."""
        seconds = self.constant_s + context_tokens * (self.linear_s + context_tokens * self.quadratic_s)
        return max(0.0, seconds)


def prefill_s(step_time: StepTime, tokens: int, chunk_tokens: int) -> float:
    """Return the seconds to prefill a prompt alone, in chunks of the step's token budget."""
    if isinstance(step_time, StageTimes):
        return step_time.prompt_s(tokens, chunk_tokens)
    whole, rest = divmod(tokens, chunk_tokens)
    seconds = 0.0
    if whole:
        seconds += step_time.run_s(prefill_of(chunk_tokens), whole)
    if rest:
        seconds += step_time.step_s(prefill_of(rest, whole * chunk_tokens))
    return seconds


def fit_rebuild_time(step_time: StepTime, chunk_tokens: int, longest_tokens: int) -> RebuildTime:
    """Fit R(C) by least squares over contexts of 1 to `longest_tokens` tokens."""
    lengths = np.unique(np.linspace(1, max(longest_tokens, 4), _SAMPLES).astype(int))
    seconds = [prefill_s(step_time, int(n), chunk_tokens) for n in lengths]
    quadratic_s, linear_s, constant_s = np.polyfit(lengths, seconds, 2)
    return RebuildTime(float(constant_s), float(linear_s), float(quadratic_s))
