"""How far off a client is, told from requests that nothing but the way held up."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import Final

from continuum_sim.validate.recorded.log import RecordedLog, RecordedRequest

FEWEST: Final = 5
"""Requests without which nothing is said."""


def idle_note(log: RecordedLog, simulated: Sequence[RecordedRequest], delay_s: float) -> list[str]:
    """Say what `--client-delay` requests to an idle engine speak for, if there are enough of them.

    Such a request waits for nobody, and nobody joins it before its first token: what its TTFT took longer than
    simulated is the way, and what step times are off by.

    Parameters
    ----------
    simulated
        The same requests in the same order, with simulated times.
    delay_s
        The client's delay that was simulated.
    """
    found = _alone(log.requests) & _alone(simulated)
    if not log.clients_clock or len(found) < FEWEST:
        return []
    late_s = median(_ttft_s(log.requests[n]) - _ttft_s(simulated[n]) for n in found)
    if delay_s + late_s < 0.0005:
        return []
    return [
        f"{len(found)} requests found the engine idle; the median got its first token {1000 * late_s:+.1f} ms later "
        f"than simulated: as far as step times hold, --client-delay {delay_s + late_s:.3f}"
    ]


def _alone(requests: Sequence[RecordedRequest]) -> set[int]:
    """Return the places of requests that found nobody and had their first token before the next arrival."""
    alone, busy_until_s = set(), 0.0
    for n, one in enumerate(requests):
        next_s = requests[n + 1].arrival_s if n + 1 < len(requests) else float("inf")
        if one.arrival_s >= busy_until_s and one.first_token_s <= next_s:
            alone.add(n)
        busy_until_s = max(busy_until_s, one.last_token_s)
    return alone


def _ttft_s(request: RecordedRequest) -> float:
    return request.first_token_s - request.arrival_s
