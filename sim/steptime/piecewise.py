"""Step times that are polynomials of the step's number, piece by piece: sums in closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

from continuum_sim.steptime.batch import StepBatch

Piece = tuple[int, float, float, float]
"""n, a, b, c: the next n steps, of which the j-th (from 0) takes a + b·j + c·j² seconds."""


class PiecewiseStepTime(ABC):
    """Base of models whose step time, over a run, is made of a few polynomial pieces.

    A subclass cuts a run into pieces; where it cuts must not depend on the length of the run.
    """

    @abstractmethod
    def pieces(self, batch: StepBatch, n_steps: int) -> Sequence[Piece]:
        """Cut a run of n steps into pieces, in order; the lengths sum to `n_steps`."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Name, parameters and provenance, for the manifest."""

    def step_s(self, batch: StepBatch) -> float:
        """Seconds of one step."""
        return self.run_s(batch, 1)

    def run_s(self, batch: StepBatch, n_steps: int) -> float:
        """Seconds of a run of n steps: Σj = n(n-1)/2 and Σj² = n(n-1)(2n-1)/6, for every piece."""
        total = 0.0
        for n, a, b, c in self.pieces(batch, n_steps):
            total += _sum(n, a, b, c)
        return total

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Least k in 1..n_steps with run_s(batch, k) >= elapsed_s; n_steps if there is none."""
        steps, left_s = 0, elapsed_s
        for n, a, b, c in self.pieces(batch, n_steps):
            piece_s = _sum(n, a, b, c)
            if piece_s >= left_s:
                steps += _steps_within(n, a, b, c, left_s)
                break
            steps += n
            left_s -= piece_s
        steps = min(max(steps, 1), n_steps)
        # The root is rounded; what counts is what run_s itself answers.
        while steps > 1 and self.run_s(batch, steps - 1) >= elapsed_s:
            steps -= 1
        while steps < n_steps and self.run_s(batch, steps) < elapsed_s:
            steps += 1
        return steps


def _sum(n: int, a: float, b: float, c: float) -> float:
    pairs = n * (n - 1)
    total = n * a + 0.5 * pairs * b
    return total + pairs * (2 * n - 1) / 6 * c if c else total


def _steps_within(n: int, a: float, b: float, c: float, elapsed_s: float) -> int:
    """About the least k in 1..n whose sum reaches `elapsed_s`, given that n steps do."""
    if c:
        low, high = 1, n
        while low < high:
            middle = (low + high) // 2
            if _sum(middle, a, b, c) >= elapsed_s:
                high = middle
            else:
                low = middle + 1
        return low
    # a·k + b·k(k-1)/2 = t: the positive root of (b/2)k² + (a - b/2)k - t, in the form that does not cancel.
    linear = a - 0.5 * b
    discriminant = linear * linear + 2.0 * b * elapsed_s
    root = 2.0 * elapsed_s / (linear + sqrt(discriminant)) if discriminant > 0 and elapsed_s > 0 else 1.0
    return ceil(root) if root < n else n
