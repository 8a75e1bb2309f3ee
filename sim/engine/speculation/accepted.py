"""How many drafts of a turn each of its steps accepts, drawn for the turn alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final

import numpy as np

_CHUNK: Final = 64
"""Steps that are drawn at once."""


class AcceptedDrafts:
    """The accepted drafts of a turn, step by step, as vLLM's synthetic rejection sampler accepts them.

    A step accepts at least n drafts with the n-th rate. How many steps are drawn at once changes nothing.

    Parameters
    ----------
    rng
        The turn's own generator: policies and both ways to advance time see the same draws.
    rates
        By position: the probability that the drafts up to there are all accepted.
    """

    def __init__(self, rng: np.random.Generator, rates: Sequence[float]) -> None:
        self._rng = rng
        self._rates = np.array(rates[::-1])  # searched in ascending order
        self._drawn: Any = np.empty(0, dtype=np.int64)
        self._listed: list[int] = []
        self._next = 0
        self.taken = 0
        """Steps that were drawn for so far."""

    varied: ClassVar[bool] = False
    """Whether some steps verify fewer drafts than the engine's drafter proposes."""

    def proposed(self, most: int) -> int:
        """Return how many drafts the next step verifies, of at most so many."""
        return most

    def next(self) -> int:
        """Return the accepted drafts of the next step."""
        if self._next == len(self._listed):
            self._draw(_CHUNK)
        at = self._next
        self._next = at + 1
        self.taken += 1
        return self._listed[at]

    def coming(self, steps: int) -> Any:
        """Return the accepted drafts of the next `steps` steps, which stay the next."""
        missing = self._next + steps - len(self._drawn)
        if missing > 0:
            self._draw(-(-missing // _CHUNK) * _CHUNK)
        return self._drawn[self._next : self._next + steps]

    def take(self, steps: int) -> None:
        """Go on by so many steps."""
        self.coming(steps)
        self._next += steps
        self.taken += steps

    def steps_for(self, tokens: int) -> int:
        """Return how many of the next steps it takes to give so many tokens, one and the accepted drafts each."""
        steps = int(tokens / (1.0 + self._rates.sum())) + _CHUNK
        while True:
            total = np.cumsum(self.coming(steps) + 1)
            if total[-1] >= tokens:
                return int(np.searchsorted(total, tokens)) + 1
            steps *= 2

    def _draw(self, steps: int) -> None:
        chances = self._rng.random(steps)
        number = len(self._rates) - np.searchsorted(self._rates, chances, side="right")
        self._drawn = np.concatenate((self._drawn[self._next :], number))
        self._listed = self._drawn.tolist()
        self._next = 0
