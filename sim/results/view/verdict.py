"""The verdict on a load, in one line."""

from __future__ import annotations

from continuum_sim.results.numbers import percent
from continuum_sim.results.summary import RunVerdict
from continuum_sim.steady.verdict import LEAST_PROGRAMS, Slope, Verdict


def verdict_line(verdict: RunVerdict, programs: int) -> str:
    """Return the verdict on one run of `programs` programs as text."""
    growth_per_s, needed = verdict.growth_per_s, verdict.needed_programs
    programs = verdict.programs or programs
    return joint_line(Verdict(verdict.kind, 1, programs, needed, growth_per_s, reason=verdict.reason))


def joint_line(verdict: Verdict) -> str:
    """Return the verdict on all runs of one load together as text."""
    over = (
        f"{verdict.programs:,} programs"
        if verdict.runs == 1
        else f"{verdict.runs} runs of {verdict.programs:,} programs"
    )
    if verdict.kind == "none":
        return f"no verdict: {verdict.reason}"
    if verdict.kind == "too_short":
        needed = verdict.needed_programs or 0
        more = f"; about {needed:,} programs would tell" if needed > LEAST_PROGRAMS else ""
        return f"too short to tell: {verdict.reason}{more}"
    if verdict.hazard is not None:
        return f"steady over {over}: the chance that one more brings collapse is below {percent(verdict.hazard)}"
    growth = "" if verdict.growth_per_s is None else f" by {_per_hour(verdict.growth_per_s)}"
    if verdict.collapsed is not None:
        return f"collapses in {verdict.collapsed} of {over}; the backlog grows{growth} on average"
    return f"grows: over {over} the backlog rises{growth}, and JCT with the length of the run"


def _per_hour(slope: Slope) -> str:
    value, low, high = (3600 * rate for rate in (slope.value, slope.low, slope.high))
    return f"the work of {value:.1f} programs an hour (95 % interval {low:.1f} … {high:.1f})"
