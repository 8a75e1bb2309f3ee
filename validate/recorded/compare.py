"""Compute a report's numbers from a log and its simulation."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from continuum_sim.results.estimate import METRICS
from continuum_sim.validate.judge.statistics import kendall_tau
from continuum_sim.validate.recorded.log import RecordedLog, RecordedRequest
from continuum_sim.validate.recorded.replay import Replay, gauges_at
from continuum_sim.validate.recorded.report import Agreement, Figure, Gauge, Metric, Verdict
from continuum_sim.validate.recorded.resample import ratio_bounds, statistics
from continuum_sim.validate.recorded.timeseries import EngineSeries

Array = NDArray[np.float64]

TITLES = {"end_to_end": "end to end", "ttft": "TTFT", "tpot": "TPOT", "queue_wait": "queue wait"}
JUDGED = ("end_to_end", "ttft", "tpot")
"""Metrics whose means must be within the tolerance."""


@dataclass(frozen=True)
class Sample:
    """One metric of the same requests on both sides, in seconds."""

    name: str
    recorded: Array
    simulated: Array


def samples(log: RecordedLog, simulated: Replay) -> list[Sample]:
    """Return every metric that the log has.

    End to end is arrival to last token, TTFT arrival to first token, queue wait arrival to first scheduling. TPOT is
    first to last token over the output tokens less one, for requests with more than one, as in vLLM's benchmark.
    """
    found = [Sample(name, _metric(log.requests, name), _metric(simulated.requests, name)) for name in JUDGED]
    if all(request.scheduled_s is not None for request in log.requests):
        waits = (_metric(side, "queue_wait") for side in (log.requests, simulated.requests))
        found.append(Sample("queue_wait", *waits))
    return [one for one in found if len(one.recorded)]


def metric(one: Sample, tolerance: float, rng: np.random.Generator) -> Metric:
    """Compare one metric, and estimate how much its errors depend on single requests."""
    from scipy.stats import DegenerateDataWarning

    with np.errstate(divide="ignore", invalid="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DegenerateDataWarning)  # waits may be 0, which have no relative error
        recorded, simulated = statistics(one.recorded), statistics(one.simulated)
        errors = simulated / recorded - 1
        low, high = ratio_bounds(one.simulated, one.recorded, rng)
    figures = [
        Figure(
            name=name,
            recorded=float(recorded[at]),
            simulated=float(simulated[at]),
            error=_finite(errors[at]),
            error_low=_finite(low[at] - 1),
            error_high=_finite(high[at] - 1),
        )
        for at, name in enumerate(METRICS)
    ]
    return Metric(one.name, TITLES[one.name], len(one.recorded), figures, _agreement(one, tolerance))


def verdicts(metrics: Sequence[Metric], tolerance: float) -> list[Verdict]:
    """Judge the means."""
    found = []
    for one in metrics:
        mean = one.mean
        if one.name in JUDGED and mean.error is not None:
            within = abs(mean.error) <= tolerance
            found.append(Verdict(one.name, mean.error, within, _settled(mean, tolerance)))
    return found


def run_figures(log: RecordedLog, simulated: Replay) -> list[Figure]:
    """Compare the run as a whole: its duration and its throughput."""
    tokens = sum(request.output_tokens for request in log.requests)
    ends = (log.end_s, simulated.end_s)
    return [
        _figure("duration_s", *ends),
        _figure("requests_per_s", *(len(log.requests) / end_s for end_s in ends)),
        _figure("output_tokens_per_s", *(tokens / end_s for end_s in ends)),
    ]


def gauges(recorded: EngineSeries, simulated: Replay) -> list[Gauge]:
    """Compare the engine's state at the recorded times."""
    drawn = gauges_at(simulated, recorded.at_s)
    return [
        Gauge(name, float(real.mean()), float(made.mean()), float(np.abs(made - real).mean()))
        for name, real, made in (
            ("running", recorded.running, drawn.running),
            ("waiting", recorded.waiting, drawn.waiting),
            ("kv_share", recorded.kv_share, drawn.kv_share),
        )
    ]


def _metric(requests: Sequence[RecordedRequest], name: str) -> Array:
    if name == "tpot":
        values = [(r.last_token_s - r.first_token_s) / (r.output_tokens - 1) for r in requests if r.output_tokens > 1]
    elif name == "queue_wait":
        values = [r.scheduled_s - r.arrival_s for r in requests if r.scheduled_s is not None]
    else:
        ends = {"end_to_end": "last_token_s", "ttft": "first_token_s"}[name]
        values = [getattr(r, ends) - r.arrival_s for r in requests]
    return np.array(values)


def _agreement(one: Sample, tolerance: float) -> Agreement:
    mean_s = float(one.recorded.mean())
    apart_s = float(np.abs(np.sort(one.simulated) - np.sort(one.recorded)).mean())
    tau = kendall_tau(one.simulated.tolist(), one.recorded.tolist())
    distribution = apart_s / mean_s if mean_s else None
    if not (one.recorded > 0).all():
        return Agreement(None, None, None, tau, distribution)
    errors = np.abs(one.simulated / one.recorded - 1)
    return Agreement(
        median_error=float(np.median(errors)),
        p90_error=float(np.quantile(errors, 0.9)),
        within_tolerance=float((errors <= tolerance).mean()),
        kendall_tau=tau,
        distribution_error=distribution,
    )


def _settled(figure: Figure, tolerance: float) -> bool:
    """Return True if single requests cannot change the verdict: resampled errors lie on one side of the tolerance."""
    low, high = figure.error_low, figure.error_high
    if low is None or high is None:
        return False
    return (low >= -tolerance and high <= tolerance) or low > tolerance or high < -tolerance


def _figure(name: str, recorded: float, simulated: float) -> Figure:
    return Figure(name, recorded, simulated, simulated / recorded - 1)


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
