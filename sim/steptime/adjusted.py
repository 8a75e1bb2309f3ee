"""Any model's step times with the host's part on top, multiplied by a run's factors: one rule for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from continuum_sim.steptime.bases import VectorStepTime
from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.host import Host
from continuum_sim.steptime.model import Line, RankedStepTime, StepTime
from continuum_sim.steptime.parts import Part
from continuum_sim.steptime.piecewise import Piece, PiecewiseStepTime
from continuum_sim.steptime.ranked import at_least, spread, steps_of
from continuum_sim.steptime.uncertain import SURE, Factors


def adjusted(
    step_time: StepTime, host: Host, factors: Factors = SURE, about: Mapping[str, Any] | None = None
) -> StepTime:
    """Return step times of factor · (waiting + max(kernels, host)); the model itself if that changes nothing.

    Parameters
    ----------
    about
        What its description says beside the model and the host.
    """
    about = about or {}
    if host.free and factors == SURE and not about:
        return step_time
    if isinstance(step_time, PiecewiseStepTime):
        kind = AdjustedRanks if hasattr(step_time, "together_s") else AdjustedPieces
        return kind(step_time, host, factors, about)
    return AdjustedSteps(step_time, host, factors, about)


def parts_of(step_time: StepTime, batch: StepBatch) -> tuple[Part, ...]:
    """Return what a step's time is made of; nothing for a model that does not know."""
    parts = getattr(step_time, "parts", None)
    return () if parts is None else tuple(parts(batch))


class _Adjusted:
    """What the kinds below share."""

    def __init__(self, step_time: Any, host: Host, factors: Factors, about: Mapping[str, Any]) -> None:
        self.step_time, self.host, self.factors, self.about = step_time, host, factors, about
        self._added_s = host.added_s
        most = host.max_cudagraph_capture_size
        alone = StepBatch(0, 0, 0, 0, most, most)
        self._graph_requests = -1 if host.least_s(alone) or host.added_s or factors.decode != 1 else most
        """Most requests of a step that only decodes for which nothing is adjusted: one graph holds it."""

    def describe(self) -> dict[str, Any]:
        """Describe the model, the host, and the factors that were drawn."""
        told: dict[str, Any] = dict(self.step_time.describe())
        if not self.host.free:
            told["host"] = self.host.describe()
        if self.factors != SURE:
            told["factors"] = self.factors._asdict()
        return {**told, **self.about}

    def _factor(self, batch: StepBatch) -> float:
        return self.factors.prompts if batch.prefill_tokens else self.factors.decode


class AdjustedPieces(_Adjusted, PiecewiseStepTime):
    """Of a model whose runs consist of polynomial pieces."""

    def pieces(self, batch: StepBatch, n_steps: int) -> Sequence[Piece]:
        """Cut the model's pieces also where the host ceases to be what is waited for."""
        pieces: Sequence[Piece] = self.step_time.pieces(batch, n_steps)
        if batch.decode_requests <= self._graph_requests and not batch.prefill_tokens:
            return pieces  # most calls
        if least_s := self.host.least_s(batch):
            pieces = list(_raised(pieces, least_s))
        if self._added_s:
            pieces = [(n, a + self._added_s, b, c) for n, a, b, c in pieces]
        factor = self._factor(batch)
        return pieces if factor == 1 else [(n, factor * a, factor * b, factor * c) for n, a, b, c in pieces]

    def parts(self, batch: StepBatch) -> tuple[Part, ...]:
        """Return the model's parts, and the time that only the host takes; nothing if the model does not know them."""
        parts = parts_of(self.step_time, batch)
        host_s = self.step_s(batch) - sum([part.seconds for part in parts])
        return (*parts, Part("host", 0.0, 0.0, host_s)) if parts and host_s > 1e-12 else parts


class AdjustedRanks(AdjustedPieces):
    """Of a model of data-parallel ranks that step together: all wait for the slowest host as well."""

    @property
    def _ranks(self) -> RankedStepTime:
        return cast(RankedStepTime, self.step_time)

    def own_line(self, batch: StepBatch, n_steps: int) -> Line | None:
        """Return the model's where no host is waited for; else None."""
        if self.factors != SURE or (line := self._ranks.own_line(batch, n_steps)) is None:
            return None
        if line[0] < self.host.least_s(batch) or line[1] < 0:
            return None
        return line[0] + self._added_s, line[1]

    def shared_s(self, tokens: Sequence[int]) -> float:
        """Return the model's."""
        return self._ranks.shared_s(tokens)

    def together_s(self, batches: Sequence[StepBatch]) -> float:
        """Seconds of one step of all ranks."""
        return float(self.together_runs_s(batches, 1)[0])

    def together_runs_s(self, batches: Sequence[StepBatch], n_steps: int) -> NDArray[np.float64]:
        """Seconds of each of n steps of all ranks; if any has prompts, its factor counts."""
        least_s = max([self.host.least_s(batch) for batch in batches])
        seconds = np.maximum(self._ranks.together_runs_s(batches, n_steps), least_s) + self._added_s
        prompts = any(batch.prefill_tokens for batch in batches)
        return seconds * (self.factors.prompts if prompts else self.factors.decode)


class AdjustedSteps(_Adjusted, VectorStepTime):
    """Of any other model, one step after another."""

    def steps_s(self, batch: StepBatch, n_steps: int) -> NDArray[np.float64]:
        """Seconds of each of the n steps of a run."""
        seconds = np.maximum(steps_of(self.step_time, batch, n_steps), self.host.least_s(batch))
        return (seconds + self._added_s) * self._factor(batch)


def _raised(pieces: Sequence[Piece], least_s: float) -> Iterator[Piece]:
    """Yield pieces of the same run whose steps take no less than `least_s`."""
    for piece in pieces:
        n, a, b, c = piece
        if b >= 0 and c >= 0 and a >= least_s:
            yield piece
        elif b >= 0 and not c:
            yield from at_least((piece,), least_s)
        else:
            below = spread((piece,)) < least_s
            cuts = [0, *(np.flatnonzero(np.diff(below)) + 1).tolist(), n]
            for start, end in pairwise(cuts):
                if below[start]:
                    yield end - start, least_s, 0.0, 0.0
                else:
                    yield end - start, a + start * (b + start * c), b + 2 * start * c, c
