"""Birth-death chains with known exact results."""

from __future__ import annotations

import numpy as np
from scipy.linalg import expm

from continuum_sim.steady.curve import ServiceCurve


def hitting_share(curve: ServiceCurve, rate: float, level: int, time_s: float) -> float:
    """P(the chain has reached `level` by `time_s`), from its generator with that level absorbing."""
    n = np.arange(level + 1)
    births = np.where(n < level, rate, 0.0)
    deaths = np.where(n < level, curve.at(n), 0.0)
    generator = np.diag(births[:-1], 1) + np.diag(deaths[1:], -1) - np.diag(births + deaths)
    return float(expm(generator * time_s)[0, level])
