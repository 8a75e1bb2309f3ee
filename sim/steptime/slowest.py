"""When joint steps of ranks end: in closed form where one rank is the slowest throughout."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import overload

import numpy as np

from continuum_sim.steptime.batch import StepBatch
from continuum_sim.steptime.model import RankedStepTime
from continuum_sim.steptime.piecewise import Piece, PiecewiseStepTime, sum_of_piece
from continuum_sim.steptime.ranked import DUMMY, NO_WORK, Line, Slowest, spread


def joint_ends_s(step_time: RankedStepTime, batches: Sequence[StepBatch], n_steps: int) -> Sequence[float]:
    """Return when each of n steps of all ranks ends, counted from the start of the first."""
    if n_steps == 1:
        return (step_time.together_s(batches),)
    if isinstance(step_time, Slowest) and isinstance(step_time.step_time, PiecewiseStepTime):
        model = step_time.step_time
        runs = [
            # A dummy step has no context that grows.
            model.pieces(batch, n_steps) if batch != NO_WORK else [(n_steps, model.step_s(DUMMY), 0.0, 0.0)]
            for batch in dict.fromkeys(batches)
        ]
        return slowest(runs, n_steps)
    ends: list[float] = np.cumsum(step_time.together_runs_s(batches, n_steps)).tolist()
    return ends


def line_ends_s(lines: Sequence[Line], shared_s: float, n_steps: int) -> Sequence[float]:
    """Return the same from each rank's line, and what all do together in each step."""
    slowest_line = max(lines)
    most_s = slowest_line[0] + slowest_line[1] * (n_steps - 1)
    if all(a + b * (n_steps - 1) <= most_s for a, b in lines):  # the longest in the first step and in the last
        return PieceEnds((n_steps, slowest_line[0] + shared_s, slowest_line[1], 0.0))
    return slowest([((n_steps, a + shared_s, b, 0.0),) for a, b in lines], n_steps)


def slowest(runs: Sequence[Sequence[Piece]], n_steps: int) -> Sequence[float]:
    """Return the same from the pieces of each rank's run, where steps last as long as the slowest rank's."""
    lines: list[tuple[float, float, Piece]] = []
    """First and last step of the runs that grow evenly."""
    others: list[Sequence[Piece]] = []
    for run in runs:
        n, a, b, c = run[0]
        if n < n_steps or c:
            others.append(run)
        else:
            lines.append((a, a + (n_steps - 1) * b, run[0]))
    lines.sort(reverse=True)
    most = -math.inf
    for _, last, piece in lines:
        if last > most:  # else it is never above one that begins above it and ends above it
            most = last
            others.append((piece,))
    if len(others) == 1 and lines:
        return PieceEnds(lines[0][2])
    seconds = spread(others[0])
    for other in others[1:]:
        seconds = np.maximum(seconds, spread(other))
    ends: list[float] = np.cumsum(seconds).tolist()
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
