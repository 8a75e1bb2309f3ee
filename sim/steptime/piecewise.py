"""Step times that are polynomials of the step's number, piece by piece: their sums have a closed form."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from math import ceil, sqrt
from typing import Any

from continuum_sim.steptime.batch import StepBatch

Piece = tuple[int, float, float, float]
"""n, a, b, c: of the next n steps, the j-th (from 0) takes a + b·j + c·j² seconds."""


class PiecewiseStepTime(ABC):
    """Base of models whose step time over a run consists of a few polynomial pieces.

    A subclass cuts a run into pieces. The pieces of a shorter run must be those of a longer one, truncated.
    """

    _latest: tuple[StepBatch | None, int, Sequence[Piece]] = (None, 0, ())
    """The run asked about last: an engine asks for its end, then for the step at an arrival, then for the new end."""

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
        """Seconds of a run of n steps."""
        known, most, pieces = self._latest
        if known is not batch or n_steps > most:
            pieces = self._cut(batch, n_steps)
        if len(pieces) == 1:
            _, a, b, c = pieces[0]
            return sum_of_piece(n_steps, a, b, c)
        total, left = 0.0, n_steps
        for n, a, b, c in pieces:
            total += sum_of_piece(min(n, left), a, b, c)
            left -= n
            if left <= 0:
                break
        return total

    def steps_to_reach(self, batch: StepBatch, n_steps: int, elapsed_s: float) -> int:
        """Least k in 1..n_steps with run_s(batch, k) >= elapsed_s; n_steps if there is none."""
        known, most, pieces = self._latest
        if known is not batch or n_steps > most:
            pieces = self._cut(batch, n_steps)
        steps, total = 0, 0.0
        for n, a, b, c in pieces:
            if n > n_steps - steps:
                n = n_steps - steps
            ended = total + sum_of_piece(n, a, b, c)
            if ended >= elapsed_s:
                k = _steps_within(n, a, b, c, elapsed_s - total)
                # The root is rounded, but run_s itself decides.
                while k > 1 and total + sum_of_piece(k - 1, a, b, c) >= elapsed_s:
                    k -= 1
                while k < n and total + sum_of_piece(k, a, b, c) < elapsed_s:
                    k += 1
                return steps + k
            steps, total = steps + n, ended
            if steps == n_steps:
                break
        return n_steps

    def _cut(self, batch: StepBatch, n_steps: int) -> Sequence[Piece]:
        """Cut a run into pieces and remember them: they include those of shorter runs."""
        pieces = self.pieces(batch, n_steps)
        object.__setattr__(self, "_latest", (batch, n_steps, pieces))  # models may be frozen
        return pieces


def sum_of_piece(n: int, a: float, b: float, c: float) -> float:
    """Return the sum of a piece: Σj = n(n-1)/2 and Σj² = n(n-1)(2n-1)/6 over j from 0 to n-1."""
    pairs = n * (n - 1)
    total = n * a + 0.5 * pairs * b
    return total + pairs * (2 * n - 1) / 6 * c if c else total


def _steps_within(n: int, a: float, b: float, c: float, elapsed_s: float) -> int:
    """Return roughly the least k in 1..n whose sum reaches `elapsed_s`, given that n steps do."""
    if n == 1 or elapsed_s <= 0:
        return 1
    if c:
        low, high = 1, n
        while low < high:
            middle = (low + high) // 2
            if sum_of_piece(middle, a, b, c) >= elapsed_s:
                high = middle
            else:
                low = middle + 1
        return low
    # a·k + b·k(k-1)/2 = t: the positive root of (b/2)k² + (a - b/2)k - t, in the form without cancellation.
    linear = a - 0.5 * b
    discriminant = linear * linear + 2.0 * b * elapsed_s
    root = 2.0 * elapsed_s / (linear + sqrt(discriminant)) if discriminant > 0 else 1.0
    return n if root >= n else ceil(root) if root > 1 else 1
