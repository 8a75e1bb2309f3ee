"""Whether what a few runs show survives the error of their step times: the same load at both ends of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from continuum_sim.results.numbers import percent

Side = Literal["faster", "slower", "equal"]


class AtEnds(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's mean JCT over the baseline's, in one run as it is and with all step times at the ends of their error.

    The ends hold 90 % of the factors that an error of this size has.
    """

    policy: str
    error: float
    """Relative standard deviation of the factor of step times."""
    seed: int
    ratio: float
    low_factor: float
    low_ratio: float
    high_factor: float
    high_ratio: float
    min_effect: float
    """Smallest difference of a ratio from 1 that counts."""

    @property
    def survives(self) -> bool:
        """Whether the policy is on the same side of the baseline at both ends."""
        return len({self._side(ratio) for ratio in (self.ratio, self.low_ratio, self.high_ratio)}) == 1

    def line(self) -> str:
        """Return what it means, as text."""
        side = self._side(self.ratio)
        than = "as fast as the baseline" if side == "equal" else f"{side} than the baseline"
        said = "survives" if self.survives else "does not survive"
        return (
            f"{than} ({self.ratio:.3f}), which {said} an error of {percent(self.error)} in step times: "
            f"{self.low_ratio:.3f} at × {self.low_factor:.3f}, {self.high_ratio:.3f} at × {self.high_factor:.3f} "
            f"(seed {self.seed})"
        )

    def _side(self, ratio: float) -> Side:
        if abs(ratio - 1) < self.min_effect:
            return "equal"
        return "faster" if ratio < 1 else "slower"
