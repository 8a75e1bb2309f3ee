"""Recovery from a burst, in one line."""

from __future__ import annotations

from continuum_sim.results.numbers import count, seconds
from continuum_sim.results.recovered import JointRecovery
from continuum_sim.results.summary import RunRecovery
from continuum_sim.steady.recovery import MOST_RATIO

_WITHIN = f"within {100 * (MOST_RATIO - 1):.0f} % of that without the burst"


def recovery_line(found: RunRecovery) -> str:
    """Return whether one run recovered, and when, as text."""
    burst = _burst(found.burst_programs, found.burst_at_s)
    if not found.looked_at_programs:
        return f"{burst}: no program arrives after it, so that nothing tells whether the service recovers"
    if found.recovered:
        arrivals = f"{found.after_programs:,} arrivals" if found.after_programs else "at once"
        after = f"after {seconds(found.after_s or 0.0)} s ({arrivals})" if found.after_programs else arrivals
        said = f"recovers {after}: from there on JCT is {_WITHIN}"
    else:
        said = f"has not recovered after {found.looked_at_programs:,} arrivals"
        if found.last_ratio is not None:
            said += f": JCT is {found.last_ratio:.3g} times that without the burst in the end"
    also = "; but the backlog grows without it, too" if found.without == "grows" else ""
    return f"{burst}: {said}{also}"


def joint_recovery_line(found: JointRecovery) -> str:
    """Return in how many runs the service recovered, and when, as text."""
    burst = _burst(found.burst_programs, found.burst_at_s)
    if not found.looked_at_programs:
        return f"{burst}: no program arrives after it, so that nothing tells whether the service recovers"
    said = f"recovers in {found.recovered} of {found.runs} runs" if found.runs > 1 else "recovers"
    if found.after_s is not None:
        mean = " on average" if found.recovered > 1 else ""
        said += f", after {seconds(found.after_s)} s ({count(round(found.after_programs or 0))} arrivals){mean}"
    elif found.runs == 1:
        said = f"has not recovered after {found.looked_at_programs:,} arrivals"
    else:
        said += f" within {found.looked_at_programs:,} arrivals"
    also = ""
    if found.grow_without:
        also = "; but the backlog grows without it, too"
        also += f", in {found.grow_without}" if found.runs > 1 else ""
    return f"{burst}: {said}{also}"


def _burst(programs: int, at_s: float) -> str:
    return f"{programs:,} programs at {at_s:,.10g} s"
