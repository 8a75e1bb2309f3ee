"""How well the simulation predicted the engine: errors, their causes, and whether the ranking holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean

import msgspec
import numpy as np

from continuum_sim.engine.config import EngineConfig
from continuum_sim.errors import ConfigError
from continuum_sim.results.view import Shown, View
from continuum_sim.steptime.calibrated import Calibrated, fit_calibrated, scaled
from continuum_sim.steptime.model import StepTime
from continuum_sim.validate.judge.observed import DRAFTS, PINS, Observation, PolicyObservations, turn_fates
from continuum_sim.validate.judge.predict import Forecast, prefill_alone_s
from continuum_sim.validate.judge.reenact import Reenactment
from continuum_sim.validate.judge.statistics import (
    STATISTICS,
    Array,
    Interval,
    among_themselves,
    interval_over_repeats,
    kendall_tau,
    mean,
    quantile,
    share_equal,
    spread,
)
from continuum_sim.world.records import TurnRecord

Simulate = Callable[[str, StepTime], list[Forecast]]
"""Simulates the workload again under a policy, with other step times."""
Reenact = Callable[[str, Observation], Reenactment | None]
"""Simulates a measured run again from its engine's log; None if the engine logged nothing."""


class Compared(msgspec.Struct, frozen=True):
    """One number, simulated and measured."""

    simulated: float
    measured: Interval
    error: float
    """Simulated over measured, less 1."""


class ErrorSplit(msgspec.Struct, frozen=True):
    """Causes of the error of the mean JCT, as shares of the measured mean JCT; the parts add up to the error."""

    step_time: float
    """What disappears when the simulation uses step times fitted to the steps measured during the runs."""
    cache: float
    """In a simulation with the engine's own step times and gaps: prefill time of the tokens that only one of the two
    found in the cache, each turn taken alone."""
    scheduling: float
    """In that same simulation: all other error."""
    timing: float
    """The rest: an engine whose speed changes within a run, delays of the client, and which of two turns came first
    by a millisecond."""


class Reenacted(msgspec.Struct, frozen=True):
    """Simulations with the engine's own step times and gaps, in which only decisions can differ."""

    jct_error: float
    """Simulated over measured mean JCT on the engine's clock, less 1."""
    same_steps: float
    """Share of the engine's steps that the simulator took too: the same batch, in the same order."""
    cached_equal: float
    """Share of turns with the same cached tokens."""
    fates_equal: float | None
    """Share of turns whose blocks had the same fate."""


class PolicyReport(msgspec.Struct, frozen=True):
    """One policy, simulated and measured."""

    policy: str
    repeats: int
    programs: int
    jct_s: dict[str, Compared]
    """By statistic: mean, p50, p90, p95."""
    ttft_mean_s: Compared
    ttft_p95_s: Compared
    output_tokens_per_s: Compared
    noise: float
    """Spread of the mean JCT over repeats, as a share of it."""
    simulated_spread: float
    """The same over the simulation's draws."""
    cached_tokens: Compared | None
    """Sum over all turns; None, like the following, if the engine does not report it."""
    cached_equal: float | None
    """Share of turns with the same cached tokens in simulation and measurement."""
    cached_equal_repeats: float | None
    """The same between two repeats of the measurement: the best that can be expected."""
    fates_equal: float | None
    """Share of turns whose blocks had the same fate: released, evicted, or a pin that was hit, expired or broken."""
    fates_equal_repeats: float | None
    """The same between two repeats of the measurement."""
    preemptions: Compared | None
    pins: dict[str, Compared]
    """Pins made, hit, expired, broken; empty if the engine did not count."""
    steps: Compared | None
    """Steps of the engine that computed something."""
    drafts: dict[str, Compared]
    """Steps of turns that verify drafts, the drafts, those accepted, and the tokens that such a step gives on average;
    empty without speculative decoding."""
    engine_pace: float | None
    """Measured over modelled time of all steps: above 1 if the engine was slower than when it was calibrated."""
    error_split: ErrorSplit | None
    reenacted: Reenacted | None
    within_tolerance: bool
    notes: list[str]


class Improvement(msgspec.Struct, frozen=True):
    """How much lower a policy's mean JCT is than the first policy's."""

    policy: str
    simulated: float
    measured: Interval
    same_sign: bool


class Ranking(msgspec.Struct, frozen=True):
    """Whether the best policy in simulation is the best on the engine."""

    simulated: list[str]
    """Policies by mean JCT, best first."""
    measured: list[str]
    winner_holds: bool
    winner_clear: bool
    """True if the measured winner's interval lies below that of every other policy."""
    kendall_tau: float | None
    improvements: list[Improvement]
    baseline: str


class ValidationReport(msgspec.Struct, Shown, frozen=True):
    """How well a simulation predicted the runs of a real engine, policy by policy."""

    tolerance: float
    passed: bool
    policies: list[PolicyReport]
    ranking: Ranking
    steps: dict[str, float | int] | None
    """How well the step-time model fits the steps of all runs."""
    notes: list[str]

    def view(self) -> View:
        """Return the report as rows of text, for terminal, page and notebook."""
        from continuum_sim.validate.report.rows import report_view

        return report_view(self)


def assess(
    observations: Sequence[PolicyObservations],
    *,
    tolerance: float,
    config: EngineConfig,
    step_time: StepTime,
    simulate: Simulate,
    reenact: Reenact,
) -> ValidationReport:
    """Compare simulation and measurement for every policy.

    Parameters
    ----------
    tolerance
        Largest allowed error of a mean JCT, as a share.
    """
    reports = [_policy(one, tolerance, config, step_time, simulate, reenact) for one in observations]
    notes = []
    if any(report.noise > tolerance for report in reports):
        worst = max(reports, key=lambda report: report.noise)
        notes.append(
            f"repeats of {worst.policy} differ by {worst.noise:.1%} of their mean JCT, more than the tolerance of "
            f"{tolerance:.1%}: this machine is too noisy to settle errors of that size; more repeats, or a quieter hour"
        )
    return ValidationReport(
        tolerance=tolerance,
        passed=all(report.within_tolerance for report in reports),
        policies=reports,
        ranking=_rank(observations),
        steps=_fit_of_steps(observations, step_time),
        notes=notes,
    )


# One policy -------------------------------------------------------------------------------------------------


def _policy(
    one: PolicyObservations,
    tolerance: float,
    config: EngineConfig,
    step_time: StepTime,
    simulate: Simulate,
    reenact: Reenact,
) -> PolicyReport:
    simulated, measured = one.simulated, one.measured
    jct_s = {name: _compare(one, lambda run: run.jct_s, statistic) for name, statistic in STATISTICS.items()}
    noise = spread([mean(run.jct_s) for run in measured])
    tells_cached = all(run.tells_cached for run in measured)
    tells_preemptions = all(run.tells_preemptions for run in measured)
    tables = [run.cached_tokens for run in measured] if tells_cached else []
    within = abs(jct_s["mean"].error) <= tolerance
    notes = []
    if noise > tolerance:
        notes.append(f"repeat noise {noise:.1%} exceeds the tolerance")
    elif not within and jct_s["mean"].measured.low <= jct_s["mean"].simulated <= jct_s["mean"].measured.high:
        notes.append("the simulated mean lies within the measured interval")
    fates = [run.fates for run in measured if run.fates is not None]
    again = [found for run in measured if (found := reenact(one.policy, run)) is not None]
    counted = all(run.counts is not None for run in measured)
    return PolicyReport(
        policy=one.policy,
        repeats=len(measured),
        programs=len(measured[0].programs),
        jct_s=jct_s,
        ttft_mean_s=_compare(one, lambda run: run.ttft_s, mean),
        ttft_p95_s=_compare(one, lambda run: run.ttft_s, quantile(0.95)),
        output_tokens_per_s=_compare(one, lambda run: np.array([run.output_tokens_per_s]), mean),
        noise=noise,
        simulated_spread=spread([mean(run.jct_s) for run in simulated]),
        cached_tokens=_compare(one, _cached_tokens, mean) if tells_cached else None,
        cached_equal=share_equal([(draw.cached_tokens, table) for draw in simulated for table in tables]),
        cached_equal_repeats=among_themselves(tables),
        fates_equal=share_equal([(draw.fates or {}, table) for draw in simulated for table in fates]),
        fates_equal_repeats=among_themselves(fates),
        preemptions=_compare(one, lambda run: np.array([run.preemptions]), mean) if tells_preemptions else None,
        pins={name: _compare(one, _count(name), mean) for name in PINS} if counted else {},
        steps=_compare(one, _steps, mean) if all(run.engine_steps is not None for run in measured) else None,
        drafts=_drafts(one),
        engine_pace=_pace(measured, step_time),
        error_split=_split(one, config, simulate, again),
        reenacted=_reenacted(measured, again),
        within_tolerance=within,
        notes=notes,
    )


def _compare(
    one: PolicyObservations, sample: Callable[[Observation], Array], statistic: Callable[[Array], float]
) -> Compared:
    simulated = fmean(statistic(sample(run)) for run in one.simulated)
    measured = interval_over_repeats([sample(run) for run in one.measured], statistic)
    return Compared(simulated, measured, _relative(simulated, measured.value))


def _relative(simulated: float, measured: float) -> float:
    if measured:
        return simulated / measured - 1.0
    return 0.0 if simulated == measured else float("inf")


def _cached_tokens(run: Observation) -> Array:
    return np.array([sum(run.cached_tokens.values())])


def _count(name: str) -> Callable[[Observation], Array]:
    return lambda run: np.array([0.0 if run.counts is None else run.counts[name]])


def _steps(run: Observation) -> Array:
    return np.array([run.engine_steps or 0])


def _drafts(one: PolicyObservations) -> dict[str, Compared]:
    if not all(run.drafts is not None and run.drafts["verifications"] for run in one.measured):
        return {}

    def number(name: str) -> Callable[[Observation], Array]:
        return lambda run: np.array([(run.drafts or {}).get(name, 0.0)])

    def tokens_per_step(run: Observation) -> Array:
        drafts = run.drafts or {}
        return np.array([1.0 + drafts.get("accepted_tokens", 0.0) / max(1.0, drafts.get("verifications", 0.0))])

    found = {name: _compare(one, number(name), mean) for name in DRAFTS}
    return {**found, "tokens_per_step": _compare(one, tokens_per_step, mean)}


def _pace(measured: Sequence[Observation], step_time: StepTime) -> float | None:
    steps = [step for run in measured for step in run.steps]
    if not steps:
        return None
    return sum(step.seconds for step in steps) / sum(step_time.step_s(step.batch) for step in steps)


def _reenacted(measured: Sequence[Observation], again: Sequence[Reenactment]) -> Reenacted | None:
    if not again:
        return None
    simulated_s = fmean(program.jct_s for one in again for program in one.forecast.programs)
    measured_s = fmean(jct_s for one in again for jct_s in one.measured_jct_s.values())
    cached = share_equal([(_cached(one), run.cached_tokens) for one, run in zip(again, measured, strict=True)])
    fates = [
        (turn_fates(one.forecast.decisions), run.fates)
        for one, run in zip(again, measured, strict=True)
        if run.fates is not None
    ]
    assert cached is not None
    return Reenacted(simulated_s / measured_s - 1.0, fmean(o.same_steps for o in again), cached, share_equal(fates))


def _cached(one: Reenactment) -> dict[tuple[str, int], int]:
    return {(turn.program, turn.turn): turn.cached_tokens for turn in one.forecast.turns}


def _split(
    one: PolicyObservations, config: EngineConfig, simulate: Simulate, again: Sequence[Reenactment]
) -> ErrorSplit | None:
    refit = _refit(one.measured)
    if refit is None or not again:
        return None
    measured_s = fmean(mean(run.jct_s) for run in one.measured)
    simulated_s = fmean(mean(run.jct_s) for run in one.simulated)
    refit_s = fmean(fmean(p.jct_s for p in draw.programs) for draw in simulate(one.policy, refit))
    programs = len(one.measured[0].programs)
    chunk = config.max_num_batched_tokens

    def prefill_s(turns: Sequence[TurnRecord]) -> float:
        """Prefill time of all turns, each taken alone, per program."""
        sizes = ((turn.prompt_tokens - turn.cached_tokens, turn.cached_tokens) for turn in turns)
        return sum(prefill_alone_s(refit, new, cached, chunk) for new, cached in sizes) / programs

    decisions = fmean(
        fmean(p.jct_s for p in one.forecast.programs) - fmean(one.measured_jct_s.values()) for one in again
    )
    cache = fmean(prefill_s(one.forecast.turns) for one in again) - fmean(prefill_s(run.turns) for run in one.measured)
    step_time = simulated_s - refit_s
    return ErrorSplit(
        step_time=step_time / measured_s,
        cache=cache / measured_s,
        scheduling=(decisions - cache) / measured_s,
        timing=(simulated_s - measured_s - step_time - decisions) / measured_s,
    )


def _refit(measured: Sequence[Observation]) -> Calibrated | None:
    """Fit the steps of the runs and match their total time, stalls of the machine included."""
    steps = [step for run in measured for step in run.steps]
    try:
        fitted = fit_calibrated([step.batch for step in steps], [step.seconds for step in steps])
    except ConfigError:
        return None  # no step log, or too short a run
    return scaled(fitted, sum(step.seconds for step in steps) / sum(fitted.step_s(step.batch) for step in steps))


def _fit_of_steps(observations: Sequence[PolicyObservations], step_time: StepTime) -> dict[str, float | int] | None:
    steps = [step for one in observations for run in one.measured for step in run.steps]
    if not steps:
        return None
    modelled = np.array([step_time.step_s(step.batch) for step in steps])
    measured = np.array([step.seconds for step in steps])
    errors = modelled / measured - 1.0
    return {
        "steps": len(steps),
        "measured_s": float(measured.sum()),
        "modelled_s": float(modelled.sum()),
        "mean_relative_error": float(errors.mean()),
        "median_absolute_relative_error": float(np.median(np.abs(errors))),
        "p90_absolute_relative_error": float(np.quantile(np.abs(errors), 0.9)),
    }


# All policies -----------------------------------------------------------------------------------------------


def _rank(observations: Sequence[PolicyObservations]) -> Ranking:
    names = [one.policy for one in observations]
    simulated = {one.policy: fmean(mean(run.jct_s) for run in one.simulated) for one in observations}
    measured = {one.policy: interval_over_repeats([run.jct_s for run in one.measured], mean) for one in observations}
    by_simulation = sorted(names, key=lambda name: simulated[name])
    by_measurement = sorted(names, key=lambda name: measured[name].value)
    winner = by_measurement[0]
    improvements = [
        _improvement(one, observations[0], simulated[one.policy], simulated[names[0]]) for one in observations[1:]
    ]
    return Ranking(
        simulated=by_simulation,
        measured=by_measurement,
        winner_holds=by_simulation[0] == winner,
        winner_clear=all(measured[winner].high < measured[name].low for name in names if name != winner),
        kendall_tau=kendall_tau([simulated[n] for n in names], [measured[n].value for n in names]),
        improvements=improvements,
        baseline=names[0],
    )


def _improvement(
    one: PolicyObservations, baseline: PolicyObservations, simulated_s: float, baseline_s: float
) -> Improvement:
    """Compare repeat by repeat: runs of the same round ran side by side."""
    rounds = [
        np.array([1.0 - mean(run.jct_s) / mean(base.jct_s)])
        for run, base in zip(one.measured, baseline.measured, strict=False)
    ]
    simulated = 1.0 - simulated_s / baseline_s
    measured = interval_over_repeats(rounds, mean)
    return Improvement(one.policy, simulated, measured, bool(np.sign(simulated) == np.sign(measured.value)))
