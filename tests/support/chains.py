"""Birth-death chains of which everything is known exactly."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm

from continuum_sim.steady.curve import ServiceCurve


def hitting_share(curve: ServiceCurve, rate: float, level: int, time_s: float) -> float:
    """P(the birth-death chain has been at `level` by then), by its generator with that level absorbing."""
    n = np.arange(level + 1)
    births = np.where(n < level, rate, 0.0)
    deaths = np.where(n < level, curve.at(n), 0.0)
    generator = np.diag(births[:-1], 1) + np.diag(deaths[1:], -1) - np.diag(births + deaths)
    return float(expm(generator * time_s)[0, level])
