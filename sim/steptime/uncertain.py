"""Step times that are uncertain: one factor for a whole run, drawn by its seed."""

from __future__ import annotations

from math import exp, log1p, sqrt
from typing import Final, NamedTuple

import numpy as np

ENDS_Z: Final = 1.645
"""Standard deviations of a normal number within which 90 % are."""


class Factors(NamedTuple):
    """What multiplies step times: the errors of a model are systematic, so that no step makes up for another.

    Steps with prompts wait for arithmetic and others for memory, whose shares of the peaks are measured apart and err
    apart: they have factors of their own.
    """

    decode: float = 1.0
    """Of steps that only decode."""
    prompts: float = 1.0
    """Of steps with prompts."""


SURE: Final = Factors()


def draw_factors(error: float, rng: np.random.Generator) -> Factors:
    """Draw lognormal factors of mean 1 and relative standard deviation `error`."""
    spread = sqrt(log1p(error * error))
    decode, prompts = rng.standard_normal(2).tolist()
    return Factors(exp(spread * decode - spread**2 / 2), exp(spread * prompts - spread**2 / 2))


def ends(error: float) -> tuple[float, float]:
    """Return the factors between which 90 % of those of such an error are."""
    spread = sqrt(log1p(error * error))
    return exp(-ENDS_Z * spread - spread**2 / 2), exp(ENDS_Z * spread - spread**2 / 2)
