"""R(C) in a running engine: given, taken from a calibration, or learnt from the engine's own steps."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container
from typing import Any

from continuum_sim.engine.rebuild import RebuildTime, fit_rebuild_time
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.fitted import fit_step_times, load_fitted
from continuum_sim.validate.plugin.settings import PluginSettings
from continuum_sim.validate.steplog import scheduled_batch

_KEPT = 256
"""Steps remembered of each kind (with and without prefill); older ones, such as warm-up steps, are dropped."""

_FEWEST = 16
"""Prefilling steps needed before the first estimate."""

_REFIT_STEPS = 64
"""Steps between two fits."""


class LearntRebuild:
    """Fits step times to the steps that the engine runs, derives R(C) from the fit, and refits as steps come in.

    R(C) is zero until enough prefilling steps were seen: the policy then weighs only the queueing delay.
    """

    def __init__(self, chunk_tokens: int, longest_tokens: int, wall_s: Callable[[], float] = time.perf_counter) -> None:
        self._chunk_tokens = chunk_tokens
        self._longest_tokens = longest_tokens
        self._wall_s = wall_s
        self._prefills: deque[tuple[StepBatch, float]] = deque(maxlen=_KEPT)
        self._decodes: deque[tuple[StepBatch, float]] = deque(maxlen=_KEPT)
        self._under_way: deque[tuple[float, StepBatch]] = deque()
        self._last_end_s = 0.0
        self._new_steps = 0
        self._fit: RebuildTime | None = None

    def __call__(self, context_tokens: int) -> float:
        """Return the estimated seconds to prefill a context of this many tokens."""
        if len(self._prefills) < _FEWEST:
            return 0.0
        if self._fit is None or self._new_steps >= _REFIT_STEPS:
            steps = [*self._prefills, *self._decodes]
            fitted = fit_step_times([batch for batch, _ in steps], [seconds for _, seconds in steps])
            self._fit = fit_rebuild_time(fitted, self._chunk_tokens, self._longest_tokens)
            self._new_steps = 0
        return self._fit(context_tokens)

    def step_scheduled(
        self, requests: dict[str, Any], scheduled_tokens: dict[str, int], entering: Container[str] = ()
    ) -> None:
        """Record a step's work; call it once the step is scheduled, before it runs."""
        self._under_way.append((self._wall_s(), scheduled_batch(requests, scheduled_tokens, entering)))

    def step_ran(self) -> None:
        """Record that the oldest step under way has run.

        Steps may be scheduled ahead of time (asynchronous scheduling); such a step starts when its
        predecessor ends.
        """
        if not self._under_way:
            return
        scheduled_s, batch = self._under_way.popleft()
        end_s = self._wall_s()
        seconds = end_s - max(scheduled_s, self._last_end_s)
        self._last_end_s = end_s
        if seconds > 0:
            (self._prefills if batch.prefill_tokens else self._decodes).append((batch, seconds))
            self._new_steps += 1


def make_rebuild(settings: PluginSettings, chunk_tokens: int, longest_tokens: int) -> RebuildTime | LearntRebuild:
    """Return R(C) from the source that the settings name, or learn it."""
    if settings.rebuild is not None:
        return settings.rebuild
    if settings.step_time is not None:
        return fit_rebuild_time(load_fitted(settings.step_time), chunk_tokens, longest_tokens)
    return LearntRebuild(chunk_tokens, longest_tokens)
