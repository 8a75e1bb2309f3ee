"""The verdict on a run, as stored in its summary, and on several runs of one load."""

from __future__ import annotations

from collections.abc import Sequence

from continuum_sim.results.summary import RunVerdict, Summary
from continuum_sim.results.tally import Tally
from continuum_sim.steady.verdict import PARTS, Observed, Trend, Verdict, judge, observe
from continuum_sim.traces.arrivals import Burst, Closed, OpenArrivals

_CLOSED = "in a closed load programs wait for each other, so that no backlog can grow"
_NONE_AFTER = "no program arrives after the burst"
_AT_ONCE = "all programs arrive at once, so that the backlog can only fall"


def verdict_of(tally: Tally, arrivals: OpenArrivals | Closed) -> RunVerdict:
    """Return the verdict on a finished run."""
    window_s = tally.last_arrival_s
    if isinstance(arrivals, Closed):
        return RunVerdict(kind="none", reason=_CLOSED)
    if isinstance(arrivals, Burst) or not window_s or not tally.fresh_tokens:
        return RunVerdict(kind="none", reason=_AT_ONCE)
    from_s, programs, jct_s = 0.0, tally.programs, tally.jct_s.mean
    if tally.burst is not None:
        if window_s <= tally.burst.at_s:
            return RunVerdict(kind="none", reason=_NONE_AFTER)
        from_s = tally.backlog.low_s(tally.burst.at_s, window_s)
        programs, jct_s = tally.arrivals_from(from_s)
    backlog = tally.backlog.means(window_s, PARTS, from_s) * (tally.programs / tally.fresh_tokens)
    drain_s = tally.last_finish_s - window_s
    observed = observe(backlog, window_s - from_s, programs=programs, jct_s=jct_s, drain_s=drain_s)
    said = judge([observed])
    return RunVerdict(
        kind=said.kind,
        reason=said.reason,
        needed_programs=said.needed_programs,
        hazard=said.hazard,
        growth_per_s=observed.growth_per_s,
        window_s=observed.window_s,
        z=observed.trend.z,
        v=observed.trend.v,
        from_s=None if tally.burst is None else from_s,
        programs=None if tally.burst is None else programs,
        jct_s=None if tally.burst is None else jct_s,
    )


def joint_verdict(summaries: Sequence[Summary]) -> Verdict | None:
    """Return the verdict on runs of one load under one policy; None if a run's version had no verdicts."""
    observed = []
    for summary in summaries:
        said = summary.verdict
        if not isinstance(said, RunVerdict):
            return None
        growth = said.growth_per_s
        if said.z is None or said.v is None or growth is None or said.window_s is None:
            return Verdict("none", len(summaries), summary.programs, reason=said.reason)
        trend = Trend(said.z, said.v)
        jct_s = summary.jct_s.mean if said.jct_s is None else said.jct_s
        drain_s = max(0.0, summary.sim_s - (said.from_s or 0.0) - said.window_s)
        observed.append(Observed(trend, growth, said.programs or summary.programs, said.window_s, jct_s, drain_s))
    return judge(observed)
