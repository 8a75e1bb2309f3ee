"""When joint steps of ranks end: in closed form where one rank is the slowest throughout."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

import numpy as np
from numpy.typing import NDArray

from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.model import Line, RankedStepTime
from continuum_sim.steptime.piecewise import Piece, sum_of_piece
from continuum_sim.steptime.ranked import longest


def joint_ends_s(step_time: RankedStepTime, batches: Sequence[StepBatch], n_steps: int) -> Sequence[float]:
    """Return when each of n steps of all ranks ends, counted from the start of the first."""
    return ends_of(step_time.together_runs_s(batches, n_steps))


def line_ends_s(lines: Sequence[Line], shared_s: float, n_steps: int) -> Sequence[float]:
    """Return the same from each rank's line, and what all do together in each step."""
    first_s, more_s = max(lines)
    last_s = first_s + more_s * (n_steps - 1)
    if all(a + b * (n_steps - 1) <= last_s for a, b in lines):  # the longest in the first step and in the last
        return PieceEnds((n_steps, first_s + shared_s, more_s, 0.0))
    return ends_of(longest([((n_steps, a + shared_s, b, 0.0),) for a, b in lines]))


def ends_of(steps_s: NDArray[np.float64]) -> Sequence[float]:
    """Return when steps of such lengths end, one after another."""
    ends: list[float] = np.cumsum(steps_s).tolist()
    return ends


class PieceEnds(Sequence[float]):
    """When each step of a piece ends, counted from its start."""

    def __init__(self, piece: Piece) -> None:
        self._piece = piece

    def __len__(self) -> int:
        return self._piece[0]

    @overload
    def __getitem__(self, at: int) -> float: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[float]: ...
    def __getitem__(self, at: int | slice) -> float | Sequence[float]:
        n, a, b, c = self._piece
        if isinstance(at, slice):
            return [self[k] for k in range(*at.indices(n))]
        if not -n <= at < n:
            raise IndexError(at)
        return sum_of_piece(at % n + 1, a, b, c)
