"""The cost of a run: GPU-hours, and dollars if the GPUs have a price."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.hardware.prices import Prices
from continuum_sim.results.summary import Cost

_HOUR_S = 3600.0


def cost_of(gpus: Sequence[str], prices: Prices, *, sim_s: float, programs: int) -> Cost:
    """Return the cost per program.

    Parameters
    ----------
    gpus
        Name of every GPU that served.
    sim_s
        Length of the run in simulated seconds.
    programs
        Programs that finished in it.
    """
    hours = sim_s / _HOUR_S / programs
    found = [prices.of(gpu) for gpu in gpus]
    known = [price for price in found if price is not None]
    if len(known) < len(gpus):
        return Cost(len(gpus), len(gpus) * hours)
    usd_per_hour = sum(price.usd_per_hour for price in known)
    said = dict.fromkeys(", ".join(filter(None, (price.seller, price.read))) for price in known)
    return Cost(len(gpus), len(gpus) * hours, usd_per_hour * hours, usd_per_hour / len(gpus), "; ".join(said))
