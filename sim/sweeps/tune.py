"""Find the best parameters of a policy for a trace and a machine: search on some seeds, judge on others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Unpack

import numpy as np

from continuum_sim.errors import ConfigError, shown
from continuum_sim.policies import PolicyError, Preset, find_preset
from continuum_sim.policies.registry import load_plugins
from continuum_sim.results.estimate import METRICS, measure
from continuum_sim.results.measured import drawn_in
from continuum_sim.results.paired import PairedDifference, paired_differences
from continuum_sim.setup.keywords import documented, named
from continuum_sim.setup.notation import policy_settings, split_spec
from continuum_sim.setup.resolve import resolve_policy
from continuum_sim.setup.settings_dict import SameSettings
from continuum_sim.sweeps.plan import SweepSpec, plan_sweep
from continuum_sim.sweeps.result import SweepResult, jct_by_seed
from continuum_sim.sweeps.run import run_sweep
from continuum_sim.sweeps.search_space import Space, default_values, search_space
from continuum_sim.sweeps.study import Study
from continuum_sim.sweeps.tuned import Trial, Tuned, TuneProgress
from continuum_sim.sweeps.workers import Backend, Workers
from continuum_sim.traces.files import write_text

TUNED: Final = "tuned.json"
MOST_TRIALS: Final = 100_000
"""Most trials of a search; each trial takes all earlier ones into account."""

OnTrial = Callable[[TuneProgress], None]


@dataclass(frozen=True, kw_only=True)
class TuneSpec:
    """Specification of a search; see `tune` for the fields."""

    policy: str
    parameters: Mapping[str, str | None]
    trials: int
    seeds: Sequence[int]
    holdout: Sequence[int]
    metric: str
    seed: int
    base: Mapping[str, Any]

    def __post_init__(self) -> None:
        if not 1 <= self.trials <= MOST_TRIALS:
            most = f" and at most {MOST_TRIALS:,}" if self.trials > MOST_TRIALS else ""
            raise ConfigError(f"trials is {shown(self.trials)}, expected at least 1{most}")
        if self.metric not in METRICS:
            raise ConfigError(f"metric is {self.metric!r}, expected one of {', '.join(METRICS)}")
        if not self.seeds or not self.holdout:
            raise ConfigError("tuning needs seeds to search on and others to judge by: give both --seeds and --holdout")
        if shared := sorted({*self.seeds} & {*self.holdout}):
            raise ConfigError(
                f"seed {shared[0]} is both tuned on and held out; a result judged by it would be too good"
            )


@documented(SameSettings)
def tune(
    policy: str,
    parameters: Mapping[str, str | None] | Sequence[str] = (),
    *,
    trials: int = 40,
    seeds: Sequence[int] = range(5),
    holdout: Sequence[int] = range(100, 110),
    metric: str = "mean",
    seed: int = 0,
    out: str | PathLike[str] | None = None,
    jobs: int = -1,
    backend: Backend = "local",
    address: str | None = None,
    progress: OnTrial | None = None,
    **base: Unpack[SameSettings],
) -> Tuned:
    """Search for the parameters of a policy with the smallest JCT (Optuna's tree-structured Parzen estimator).

    The first trial is the default, if it lies within the ranges. The same arguments give the same trials, whether in
    one go or resumed after an interruption.

    Parameters
    ----------
    policy
        A preset; parameters given with it (`ttl-static:pressure=head`) stay fixed.
    parameters
        Parameters to vary: name -> `LOW:HIGH`, `LOW:HIGH:log` or `a|b|c`, or only names, for the ranges that the policy
        states. Empty for all parameters with such a range.
    trials
        Settings to try, including those of an earlier search in `out`.
    seeds, holdout
        Seeds of the arrivals to search on, and others to judge the result by.
    metric
        Statistic to minimise of the JCT over all programs and seeds: `mean`, `p50`, `p90`, `p95`, `p99`.
    seed
        Seed of the search.
    out
        Directory of the search, resumed if it is there: every run (a sweep's dataset), Optuna's journal, and the result
        in `tuned.json`.
    jobs, backend, address
        See `Workers`.
    progress
        Called after every trial.
    **base
        Trace, load, tools and engine: the fields of `RunConfig`.

    Raises
    ------
    ConfigError, PolicyError, TraceError
        For settings that cannot work, if no setting works, or if `out` holds another search.
    """
    wanted = dict(parameters) if isinstance(parameters, Mapping) else dict.fromkeys(parameters)
    spec = TuneSpec(
        policy=policy,
        parameters=wanted,
        trials=trials,
        seeds=list(seeds),
        holdout=list(holdout),
        metric=metric,
        seed=seed,
        base=named(tune, SameSettings, **base),
    )
    return run_tune(spec, out=out, workers=Workers(jobs, backend, address), progress=progress)


def run_tune(
    spec: TuneSpec,
    *,
    workers: Workers,
    out: str | PathLike[str] | None = None,
    progress: OnTrial | None = None,
    command: Sequence[str] | None = None,
) -> Tuned:
    """Carry out a search; parameters and errors as for `tune`."""
    with TemporaryDirectory(prefix="continuum-sim-") as kept:
        return _Search(spec, Path(kept if out is None else out), workers, progress, command).run()


class _Search:
    def __init__(
        self,
        spec: TuneSpec,
        directory: Path,
        workers: Workers,
        progress: OnTrial | None,
        command: Sequence[str] | None,
    ) -> None:
        self._spec, self._directory, self._workers = spec, directory, workers
        self._progress, self._command = progress, command
        load_plugins()
        name, fixed = split_spec(spec.policy)
        self._preset: Preset = find_preset(name)
        self._fixed = policy_settings(self._preset, fixed)
        self._default = resolve_policy(spec.policy).name
        self._drawn = False
        self._space: Space = search_space(self._preset, spec.parameters, self._fixed)

    def run(self) -> Tuned:
        spec = self._spec
        default_jct_s = self._measure(self._default, spec.seeds)
        study = Study(self._directory, self._asked(), self._space, self._first(), spec.seed)
        while len(study.trials) < spec.trials:
            self._try_next(study)
            self._report(study.trials)
        trials = study.trials[: spec.trials]
        worked = [trial for trial in trials if trial.value_s is not None]
        if not worked:
            raise ConfigError(f"no setting of {spec.policy} worked; the first: {trials[0].reason}")
        best = min(worked, key=lambda trial: (trial.value_s, trial.number))
        chosen = self._named(best.parameters)
        found = Tuned(
            policy=self._default,
            best=chosen,
            parameters=best.parameters,
            metric=spec.metric,
            tuning_seeds=list(spec.seeds),
            held_out_seeds=list(spec.holdout),
            tuning=self._compare(chosen, self._measure(chosen, spec.seeds), default_jct_s),
            held_out=self._compare(
                chosen, self._measure(chosen, spec.holdout), self._measure(self._default, spec.holdout)
            ),
            trials=trials,
        )
        write_text(self._directory / TUNED, found.to_json())
        return found

    def _first(self) -> dict[str, Any] | None:
        """Return the default parameters if they lie within the ranges."""
        defaults = {**default_values(self._preset), **self._fixed}
        if all(item.holds(defaults.get(name)) for name, item in self._space.items()):
            return {name: defaults[name] for name in self._space}
        return None

    def _try_next(self, study: Study) -> None:
        trial, parameters = study.suggest()
        try:
            jct_s = self._measure(self._named(parameters), self._spec.seeds)
        except _FailedError as error:
            study.tell(trial, None, str(error))
        else:
            study.tell(trial, self._objective(jct_s))

    def _objective(self, jct_s: Mapping[int, np.ndarray]) -> float:
        return float(measure(self._spec.metric, np.concatenate(list(jct_s.values()))))

    def _named(self, parameters: Mapping[str, Any]) -> str:
        settings = ",".join(f"{name}={value}" for name, value in {**self._fixed, **parameters}.items())
        return f"{self._preset.name}:{settings}"

    def _plan(self, policy: str, seeds: Sequence[int]) -> Any:
        return plan_sweep(SweepSpec(self._spec.base, {"policy": [policy], "seed": list(seeds)}))

    def _measure(self, policy: str, seeds: Sequence[int]) -> dict[int, np.ndarray]:
        """Return the JCT of every program under each seed; nothing that has run before is run again."""
        try:
            plan = self._plan(policy, seeds)
        except (ConfigError, PolicyError) as error:
            raise _FailedError(str(error)) from None
        result: SweepResult = run_sweep(plan, workers=self._workers, out=self._directory, command=self._command)
        if result.failures:
            raise _FailedError(str(result.failures[0].reason))
        frame = result.frame(programs=True)
        self._drawn = drawn_in(frame)
        return jct_by_seed(frame)

    def _compare(
        self, policy: str, jct_s: Mapping[int, np.ndarray], base: Mapping[int, np.ndarray]
    ) -> list[PairedDifference]:
        return paired_differences(policy, self._default, jct_s, base, drawn=self._drawn)

    def _asked(self) -> dict[str, Any]:
        """Return what identifies the search, which excludes the number of trials and the held-out seeds."""
        spec = self._spec
        return {
            "policy": self._default,
            "ranges": {name: str(item) for name, item in self._space.items()},
            "seeds": list(spec.seeds),
            "metric": spec.metric,
            "seed": spec.seed,
            "load and engine": [cell.id for cell in self._plan(self._default, spec.seeds).cells],
        }

    def _report(self, trials: Sequence[Trial]) -> None:
        if self._progress is not None:
            values = [trial.value_s for trial in trials if trial.value_s is not None]
            self._progress(TuneProgress(self._spec.trials, len(trials), min(values, default=None)))


class _FailedError(ConfigError):
    """Raised for a setting that does not work under every seed."""
