"""The library's entry point for capacity: what a service sustains under each policy."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Final, Unpack

import msgspec
import numpy as np

from continuum_sim.capacities.law import FEW, HALF, fit_law, rate_intervals
from continuum_sim.capacities.measure import AFTER, counted_of_point, fits_of, programs_of_point
from continuum_sim.capacities.question import PROGRAMS, SEEDS, CapacitySpec
from continuum_sim.capacities.result import (
    CapacityResult,
    CurvePoint,
    FromEmptyRate,
    PlainRate,
    PolicyCapacity,
    RecoverableRate,
)
from continuum_sim.capacities.search import FINE, Threshold
from continuum_sim.capacities.store import KIND, CapacityStore, capacity_store
from continuum_sim.capacities.task import Found, Kind, Outcome, Task, run_task
from continuum_sim.errors import ConfigError
from continuum_sim.policies import Policy
from continuum_sim.results.manifest import make_stamp
from continuum_sim.results.notes import unfit_notes
from continuum_sim.results.view.run import gpus_line
from continuum_sim.runs.ends import error_in, sure
from continuum_sim.setup.kept_settings import describe_settings
from continuum_sim.setup.keywords import documented, named
from continuum_sim.setup.resolve import ResolvedRun, resolve, resolve_policy
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.setup.settings_dict import ServiceSettings
from continuum_sim.setup.slo import parse_slo
from continuum_sim.steady.curve import BURST_FITS, CONGESTED_FITS, HORIZON_BURSTS, ServiceCurve
from continuum_sim.sweeps.identity import Lookup
from continuum_sim.sweeps.run import SweepProgress
from continuum_sim.sweeps.traces import PlannedTraces
from continuum_sim.sweeps.workers import Backend, Workers

_GRID: Final = (0.3, 0.5, 0.8, 1.0, 1.15, 1.3, 1.6, 2.2, 3.5, 5.0, 10.0)
"""Numbers of programs at which the curve is measured, as multiples of what fits: densest around its peak."""
_FURTHER: Final = 1.6
"""Factor from the last n to the next one if the curve still rises."""
_RISES: Final = 1.02
_MOST_N: Final = 20_000
_DRAIN_FITS: Final = 40
"""Size of a crowd whose draining is measured, as a multiple of what fits: a smaller one ends before its programs'
ages have mixed."""

OnMeasured = Callable[[SweepProgress], None]


@documented(ServiceSettings)
def capacity(
    policies: Sequence[str | Policy],
    *,
    rate: float | None = None,
    seeds: Sequence[int] = SEEDS,
    programs: int = PROGRAMS,
    burst: int | None = None,
    horizon: int | None = None,
    slo: str | Mapping[str, float] | None = None,
    quick: bool = False,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    jobs: int = -1,
    backend: Backend = "local",
    address: str | None = None,
    progress: OnMeasured | None = None,
    **service: Unpack[ServiceSettings],
) -> CapacityResult:
    """Find what a service sustains: its service curve, and the loads it recovers from and holds, with intervals.

    Programs arrive as a Poisson process. All policies serve the same programs under the same seeds.

    Parameters
    ----------
    policies
        Policies to measure.
    rate
        Load to assess, in programs per second.
    seeds
        Seeds of the loads from empty; bursts use the first three.
    programs
        Arrivals within which a service from empty may collapse.
    burst
        Programs that arrive at once; 5 times what fits the KV cache if None.
    horizon
        Arrivals within which the burst must be gone; 15 times the burst if None.
    slo
        Objectives to keep as well, `p95_jct=300,mean_ttft=1` or a mapping, in seconds.
    quick
        Whether to measure only the curve, and predict the rest from it.
    out
        Directory of the measurements, resumed if it is there; None keeps nothing.
    force
        Whether to repeat the measurements in `out`.
    jobs, backend, address
        See `Workers`.
    progress
        Called as measurements finish.
    **service
        Trace, tools and engine: fields of `RunConfig`.

    Raises
    ------
    ConfigError, PolicyError, TraceError
        For settings, policies and traces that cannot work.
    OSError
        If `out` cannot be written.
    """
    spec = CapacitySpec(
        policies=policies,
        base=named(capacity, ServiceSettings, **service),
        rate=rate,
        seeds=seeds,
        programs=programs,
        burst=burst,
        horizon=horizon,
        slo=parse_slo(slo),
        quick=quick,
    )
    workers = Workers(jobs, backend, address)
    return run_capacity(spec, workers=workers, out=out, force=force, progress=progress)


def run_capacity(
    spec: CapacitySpec,
    *,
    workers: Workers,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    progress: OnMeasured | None = None,
    command: Sequence[str] | None = None,
) -> CapacityResult:
    """Carry out a capacity search; parameters and errors as for `capacity`."""
    look = _Look(spec, workers, progress)
    with capacity_store(None if out is None else Path(out), look.manifest(command), force=force) as store:
        result = look.take(store)
        store.write_answer(result.to_json())
    return result


class _Look:
    """A capacity search in progress."""

    def __init__(self, spec: CapacitySpec, workers: Workers, progress: OnMeasured | None) -> None:
        self._spec, self._workers, self._progress = spec, workers, progress
        self._traces = PlannedTraces()
        self._lookup = Lookup()
        self._store = CapacityStore()
        trace = self._traces.add(spec.base.get("trace", RunConfig.trace))
        self._sha256 = self._traces.sha256(trace)
        self._configs: dict[str, RunConfig] = {}
        for policy in spec.policies:
            name = resolve_policy(policy).name
            if name in self._configs:
                raise ConfigError(f"policy {name!r} appears twice, expected each once")
            config = RunConfig(**{**spec.base, "trace": trace, "policy": policy, "arrivals": "closed:workers=1"})
            self._error = error_in(config)
            self._configs[name] = sure(config)  # what is asked of rates is asked of the error, too
        self._first: ResolvedRun = resolve(next(iter(self._configs.values())))
        for config in list(self._configs.values())[1:]:
            resolve(replace(config, trace=self._first.trace))  # raises if a policy cannot run with these settings
        self._fits = fits_of(self._first)
        self._burst = spec.burst or round(BURST_FITS * self._fits)
        self._horizon = spec.horizon or HORIZON_BURSTS * self._burst
        self._total = self._skipped = self._done = 0

    def manifest(self, command: Sequence[str] | None) -> dict[str, Any]:
        """Return the manifest of the search."""
        settings = describe_settings(replace(next(iter(self._configs.values())), trace=self._first.trace))
        for entry in settings.values():
            for name in ("policy", "seed", "arrivals"):
                entry.pop(name, None)
        return {
            "kind": KIND,
            **make_stamp(command),
            "policies": list(self._configs),
            **settings,
            **({"step_time_error": self._error} if self._error else {}),
            "traces": self._traces.describe(),
        }

    def take(self, store: CapacityStore) -> CapacityResult:
        """Measure what is not in the store, and return the result."""
        self._store = store
        spec = self._spec
        after_burst = spec.after_burst_seeds
        numbers = sorted({math.ceil(part * self._fits) for part in _GRID})
        searches = 0 if spec.quick else len(spec.seeds) + len(after_burst)
        self._total = len(self._configs) * (len(numbers) + searches)
        self._report()
        curves = self._curves(numbers)
        found: dict[str, dict[int, Found]] = {}
        bursts: dict[str, dict[int, Found]] = {}
        if not spec.quick:
            searched = self._search(curves, after_burst)
            found, bursts = searched["empty"], searched["burst"]
        policies = [
            self._put_together(policy, points, drained, found.get(policy, {}), bursts.get(policy, {}))
            for policy, (points, drained) in curves.items()
        ]
        return CapacityResult(
            policies=policies,
            trace=self._first.trace.name,
            model=self._first.model.name,
            gpus=gpus_line([replica.name for replica in self._first.replicas], self._first.config.parallel),
            seeds=list(spec.seeds),
            after_burst_seeds=after_burst,
            fits=self._fits,
            programs=spec.programs,
            burst_programs=self._burst,
            horizon_programs=self._horizon,
            slo=str(spec.slo),
            unfit=next(iter(unfit_notes(self._first.trace.fitting)), msgspec.UNSET),
            rate_per_s=spec.rate,
            quick=spec.quick,
            step_time_error=self._error or msgspec.UNSET,
        )

    def _curves(self, numbers: Sequence[int]) -> dict[str, tuple[dict[int, Found], Found | None]]:
        """Measure curves, extended while they still rise, and drain crowds for policies whose curves are too high."""
        points: dict[str, dict[int, Found]] = {policy: {} for policy in self._configs}
        wanted = [(policy, n) for n in reversed(numbers) for policy in self._configs]  # longest runs first
        while wanted:
            for (policy, n), found in self._measure({key: self._point(*key) for key in wanted}).items():
                points[policy][n] = found
            wanted = [(policy, n) for policy, known in points.items() if (n := _further(known)) is not None]
            self._total += len(wanted)
        unlike = [
            policy
            for policy, known in points.items()
            if not all(item.even for n, item in known.items() if n >= CONGESTED_FITS * self._fits)
        ]
        self._total += len(unlike)
        drained = self._measure({policy: self._drain(policy) for policy in unlike})
        return {policy: (dict(sorted(known.items())), drained.get(policy)) for policy, known in points.items()}

    def _search(
        self, curves: Mapping[str, tuple[dict[int, Found], Found | None]], after_burst: Sequence[int]
    ) -> dict[str, dict[str, dict[int, Found]]]:
        """Search for the rates that each seed holds from empty and recovers from."""
        spec, tasks = self._spec, {}
        for policy, (points, drained) in curves.items():
            curve = self._curve(points, drained)
            begin_per_s = curve.from_empty_per_s(spec.programs, HALF)
            search = {"curve": curve, "begin_per_s": begin_per_s, "slo": spec.slo}
            for seed in spec.seeds:
                load = {"programs": spec.programs, "seed": seed}
                tasks["empty", policy, seed] = self._task("empty", policy, load, **search)
            search["begin_per_s"] = curve.recoverable_per_s(self._burst, self._horizon)
            programs = self._horizon + (AFTER if spec.slo else 0)
            for seed in after_burst:
                load = {"programs": programs, "burst": self._burst, "seed": seed}
                tasks["burst", policy, seed] = self._task("burst", policy, load, horizon=self._horizon, **search)
        found: dict[str, dict[str, dict[int, Found]]] = {"empty": {}, "burst": {}}
        for (kind, policy, seed), item in self._measure(tasks).items():
            found[kind].setdefault(policy, {})[seed] = item
        return found

    def _measure(self, tasks: Mapping[Any, Task]) -> dict[Any, Found]:
        """Carry out the tasks that the store does not hold, and return the results of all."""
        ids = {key: task.id for key, task in tasks.items()}
        todo = {ids[key]: task for key, task in tasks.items() if self._store.find(ids[key]) is None}
        self._skipped += len(tasks) - len(todo)
        self._report()
        with closing(self._workers.each(run_task, list(todo.values()))) as outcomes:
            for outcome in outcomes:
                self._keep(todo[outcome.id], outcome)
        found = {key: self._store.find(task_id) for key, task_id in ids.items()}
        return {key: item for key, item in found.items() if item is not None}

    def _keep(self, task: Task, outcome: Outcome) -> None:
        if outcome.found is None:
            raise ConfigError(f"policy {task.policy}: {outcome.reason}")
        self._store.keep(outcome.id, outcome.found)
        self._done += 1
        self._report()

    def _point(self, policy: str, n: int) -> Task:
        programs = programs_of_point(n, self._first.trace.programs, counted_of_point(n, self._fits))
        return self._task("point", policy, {"arrivals": f"closed:workers={n}", "programs": programs})

    def _drain(self, policy: str) -> Task:
        available = self._first.trace.programs
        programs = math.ceil(_DRAIN_FITS * self._fits / available) * available
        return self._task("drain", policy, {"arrivals": "burst", "programs": programs})

    def _task(self, kind: Kind, policy: str, load: Mapping[str, Any], **search: Any) -> Task:
        """Return a task for a load, under the first seed unless `load` has one; `search` holds further task fields."""
        settings = {"arrivals": None, "seed": self._spec.seeds[0], **load}
        config, cell = self._lookup.identify(replace(self._configs[policy], **settings), self._sha256)
        return Task(kind, policy, cell, config, self._sha256, **search)

    def _floor(self, points: Mapping[int, Found]) -> Found:
        """Return the lowest point beyond the cliff, averaged with those whose intervals reach down to it."""
        beyond = [item for n, item in points.items() if n >= CONGESTED_FITS * self._fits]
        lowest = min(item.value for item in beyond)
        beyond = [item for item in beyond if item.low <= lowest]
        value = float(np.mean([item.value for item in beyond]))
        half = math.sqrt(sum((item.high - item.low) ** 2 for item in beyond)) / (2 * len(beyond))
        return Found(value, max(0.0, value - half), value + half)

    def _curve(self, points: Mapping[int, Found], drained: Found | None) -> ServiceCurve:
        rates = [
            item.value if drained is None or n < CONGESTED_FITS * self._fits else drained.value
            for n, item in points.items()
        ]
        try:
            return ServiceCurve(list(points), rates, self._fits)
        except ValueError as error:  # a measurement file was changed
            raise ConfigError(f"{self._store.place}: not measurements of a service: {error}; use --force") from None

    def _put_together(
        self,
        policy: str,
        points: Mapping[int, Found],
        drained: Found | None,
        found: Mapping[int, Found],
        bursts: Mapping[int, Found],
    ) -> PolicyCapacity:
        curve = self._curve(points, drained)
        floor = drained or self._floor(points)
        return PolicyCapacity(
            policy=policy,
            recoverable_per_s=self._recoverable(curve, bursts),
            from_empty_per_s=self._from_empty(curve, found),
            congested_per_s=PlainRate(value=floor.value, low=floor.low, high=floor.high),
            drained=drained is not None,
            peak_per_s=curve.peak[1],
            peak_programs=curve.full,
            service_curve=[
                CurvePoint(n=n, per_s=item.value, low=item.low, high=item.high) for n, item in points.items()
            ],
        )

    def _recoverable(self, curve: ServiceCurve, bursts: Mapping[int, Found]) -> RecoverableRate:
        predicted = curve.recoverable_per_s(self._burst, self._horizon)
        if not bursts:
            return RecoverableRate(value=predicted, predicted=predicted)
        if not all(item.low for item in bursts.values()):
            return RecoverableRate(value=None, predicted=predicted)
        logs = np.log([item.value for item in bursts.values()])
        half = FINE / 2
        if len(logs) > 1:
            from scipy.stats import t

            half = max(half, float(t.ppf(0.975, len(logs) - 1)) * float(logs.std(ddof=1)) / math.sqrt(len(logs)))
        low, value, high = np.exp(logs.mean() + np.array([-half, 0.0, half])).tolist()
        return RecoverableRate(value=value, low=low, high=high, predicted=predicted)

    def _from_empty(self, curve: ServiceCurve, found: Mapping[int, Found]) -> FromEmptyRate:
        programs = self._spec.programs
        predicted = {
            "predicted": curve.from_empty_per_s(programs, FEW),
            "predicted_median": curve.from_empty_per_s(programs, HALF),
        }
        if not found:
            return FromEmptyRate(value=predicted["predicted"], median=predicted["predicted_median"], **predicted)
        thresholds = [Threshold(item.low, item.high, item.runs) for item in found.values()]
        if not all(item.low_per_s for item in thresholds):
            return FromEmptyRate(value=None, median=None, **predicted)
        law = fit_law(thresholds)
        few, half = rate_intervals(thresholds, np.random.default_rng(list(found)))
        return FromEmptyRate(
            value=law.rate(FEW),
            low=min(few[0], law.rate(FEW)),
            high=max(few[1], law.rate(FEW)),
            median=law.rate(HALF),
            median_low=min(half[0], law.rate(HALF)),
            median_high=max(half[1], law.rate(HALF)),
            **predicted,
        )

    def _report(self) -> None:
        if self._progress is not None:
            self._progress(SweepProgress(self._total, self._skipped, self._done, 0))


def _further(known: Mapping[int, Found]) -> int | None:
    """Return the next n to measure if a curve still rises at its end; None if not."""
    last = known[max(known)].value
    before = max((item.value for n, item in known.items() if n < max(known)), default=0.0)
    n = math.ceil(max(known) * _FURTHER)
    return n if last > _RISES * before and n <= _MOST_N else None
