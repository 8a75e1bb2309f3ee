"""The library's entry point for comparisons: several policies on the same trace and the same seeds."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar, Unpack

from continuum_sim.errors import ConfigError
from continuum_sim.policies import Policy
from continuum_sim.processes import local_workers, start_workers
from continuum_sim.results.compared import ComparedRun, CompareResult, Congested
from continuum_sim.results.estimate import MIN_EFFECT, read_min_effect
from continuum_sim.results.manifest import make_stamp
from continuum_sim.results.tables import COLUMNS
from continuum_sim.results.unfinished import COMPARISON
from continuum_sim.runs.comparison_store import IDENTITIES, RUNS, comparison_store
from continuum_sim.runs.ends import at_ends, sure
from continuum_sim.runs.execute import OnProgress, execute
from continuum_sim.setup.kept_settings import describe_settings
from continuum_sim.setup.keywords import documented, named
from continuum_sim.setup.resolve import ResolvedRun, open_trace, resolve, resolve_policy
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.setup.settings_dict import SameSettings
from continuum_sim.sweeps.identity import Lookup
from continuum_sim.traces.files import write_text

MOST_RUNS = 100_000
"""Most runs of a comparison, which holds the programs of all of them in memory."""

T = TypeVar("T")
OnRun = Callable[[str, int, bool], None]


@documented(SameSettings)
def compare(
    policies: Sequence[str | Policy],
    seeds: Sequence[int] = range(5),
    *,
    baseline: str | None = None,
    min_effect: float = MIN_EFFECT,
    jobs: int = 1,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    **same: Unpack[SameSettings],
) -> CompareResult:
    """Simulate every policy under every seed.

    Arrivals, and which programs a run with a length draws from the trace, depend on the seed alone: all policies serve
    the same load, and their programs can be paired.

    Parameters
    ----------
    policies, seeds
        What to run; each once.
    baseline
        The policy the others are measured against; the first one if None.
    min_effect
        Smallest difference of a ratio from 1 for which a policy is called faster or slower; an interval that lies
        within it means equal.
    jobs
        Processes to use, -1 for one per core. The results do not depend on it.
    out
        Directory to write: `comparison.json`, and a run directory under `runs/` for every run. Finished runs stay
        there if the comparison is stopped, and the same call resumes from them.
    force
        Whether to start over in an `out` that holds earlier results.
    **same
        Trace, load, tools and engine, the same for all runs: the fields of `RunConfig`.

    Raises
    ------
    ConfigError, PolicyError, TraceError
        Before anything runs, for settings, policies and traces that cannot work.
    SimulationError
        If a policy never admits some program.
    OSError
        If `out` cannot be written.
    """
    same_for_all = named(compare, SameSettings, **same)
    plan = plan_comparison(policies, seeds, baseline=baseline, min_effect=min_effect, **same_for_all)
    return run_comparison(plan, jobs=jobs, out=out, force=force)


@dataclass(frozen=True)
class ComparisonPlan:
    """The runs of a comparison, checked."""

    configs: tuple[RunConfig, ...]
    """One per policy and seed, policy by policy."""
    policies: tuple[str, ...]
    """Full names of the policies."""
    baseline: str
    """Full name of the policy that the others are measured against."""
    first: ResolvedRun
    """The first run, resolved; all share its engine and its trace."""
    min_effect: float
    """Smallest difference of a ratio from 1 that makes a verdict."""


def plan_comparison(
    policies: Sequence[str | Policy],
    seeds: Sequence[int],
    *,
    baseline: str | None = None,
    min_effect: str | float = MIN_EFFECT,
    **same: Any,
) -> ComparisonPlan:
    """Check everything that can be checked before anything runs; parameters and errors as for `compare`."""
    least = read_min_effect(min_effect)
    check_sequence("policies", policies, 'a list of them, as in ["lru", "ttl"]')
    check_sequence("seeds", seeds, "a list of whole numbers, as in [0, 1, 2]")
    if not len(policies) or not len(seeds):
        raise ConfigError("nothing to compare: give at least one policy and one seed")
    if len(policies) * len(seeds) > MOST_RUNS:
        raise ConfigError(
            f"{len(policies):,} policies and {len(seeds):,} seeds make {len(policies) * len(seeds):,} runs, "
            f"expected at most {MOST_RUNS:,}"
        )
    config = RunConfig(policy=policies[0], seed=seeds[0], **same)
    config = replace(config, trace=open_trace(config))  # an iterator can be read once
    configs = tuple(replace(config, policy=policy, seed=seed) for policy in policies for seed in seeds)
    names = [resolve_policy(policy).name for policy in policies]
    _check_unique("policy", names)
    _check_unique("seed", seeds)
    wanted = names[0] if baseline is None else baseline
    if wanted not in names:
        wanted = resolve_policy(wanted).name
    if wanted not in names:
        raise ConfigError(f"baseline {baseline!r} is not one of the policies compared: {', '.join(names)}")
    return ComparisonPlan(configs, tuple(names), wanted, resolve(config, draws=True), least)


def run_comparison(
    plan: ComparisonPlan,
    *,
    jobs: int = 1,
    out: str | PathLike[str] | None = None,
    force: bool = False,
    on_run: OnRun | None = None,
    progress: OnProgress | None = None,
    command: Sequence[str] | None = None,
) -> CompareResult:
    """Carry out a plan.

    Parameters
    ----------
    jobs, out, force
        As for `compare`.
    on_run
        Called for each finished run with its policy, its seed, and whether it was finished before this call.
    progress
        Called from time to time with the progress of the current run, if only one process is used.
    command
        The command line, for the manifest.

    Raises
    ------
    ConfigError, SimulationError, OSError
        As for `compare`.
    """
    if jobs == 0 or jobs < -1:
        raise ConfigError(f"jobs is {jobs}, expected a number of processes, or -1 for one per core")
    with ExitStack() as stack:
        names = _names(plan.configs)
        place: Path | None = None
        kept: dict[str, ComparedRun] = {}
        if out is not None:
            manifest = _manifest(plan, names, command)
            place, kept = stack.enter_context(comparison_store(Path(out), manifest, force=force))
        todo = [
            (config, None if place is None else place / name, command)
            for name, config in zip(names, plan.configs, strict=True)
            if name not in kept
        ]
        alone = jobs == 1 or len(todo) <= 1
        run_one = partial(_run_one, progress=progress) if alone else _run_one
        done = stack.enter_context(closing(_in_order(run_one, todo, jobs)))
        runs = []
        for name in names:
            runs.append(kept[name] if name in kept else next(done))
            if on_run is not None:
                on_run(runs[-1].summary.policy, runs[-1].summary.seed, name in kept)
        congested = _congested(plan, runs, jobs)
        place_of = None if out is None else Path(out)
        survived = at_ends(
            plan.configs,
            runs,
            plan.baseline,
            plan.min_effect,
            lambda configs: _in_order(_run_one, [(config, None, command) for config in configs], jobs),
        )
        result = CompareResult(runs, plan.baseline, place_of, congested, min_effect=plan.min_effect, at_ends=survived)
        if place is not None:
            write_text(place / COMPARISON, result.to_json())
    return result


def _congested(plan: ComparisonPlan, runs: Sequence[ComparedRun], jobs: int) -> dict[str, Congested]:
    """Return policy -> its congested rate, for policies that may hold the load only from an empty engine."""
    from continuum_sim.capacities.congested import may_be_metastable, measure_congested

    seeds = len(runs) // len(plan.policies)
    configs = {}
    for place, policy in enumerate(plan.policies):
        of_policy = [run.summary for run in runs[place * seeds : (place + 1) * seeds]]
        if may_be_metastable(plan.first, of_policy):
            configs[policy] = sure(plan.configs[place * seeds])
    tasks = [(config,) for config in configs.values()]
    return dict(zip(configs, _in_order(measure_congested, tasks, jobs), strict=True))


def _manifest(plan: ComparisonPlan, names: Sequence[str], command: Sequence[str] | None) -> dict[str, Any]:
    lookup = Lookup()
    settings = describe_settings(plan.first.config)
    for entry in settings.values():
        for name in ("policy", "seed"):
            entry.pop(name, None)
    sha256 = plan.first.trace.sha256
    return {
        **make_stamp(command),
        "baseline": plan.baseline,
        "policies": list(plan.policies),
        "seeds": list(dict.fromkeys(config.seed for config in plan.configs)),
        **settings,
        "trace_sha256": sha256,
        "runs": list(names),
        IDENTITIES: {
            name: lookup.identify(config, sha256)[1] for name, config in zip(names, plan.configs, strict=True)
        },
    }


def check_sequence(name: str, value: object, expected: str) -> None:
    """Refuse a single number or name where a list is expected.

    Raises
    ------
    ConfigError
        Naming the argument and what was expected.
    """
    if isinstance(value, str | bytes) or not (hasattr(value, "__len__") and hasattr(value, "__getitem__")):
        raise ConfigError(f"{name} is {value!r}, expected {expected}")


def _check_unique(what: str, values: Sequence[object]) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise ConfigError(f"{what} {value!r} appears twice, expected each once")
        seen.add(value)


def _names(configs: Sequence[RunConfig]) -> list[str]:
    """Return where each run is written below the comparison's directory; readable and unique."""
    names: list[str] = []
    for config in configs:
        policy = config.policy if isinstance(config.policy, str) else config.policy.name
        name = f"{RUNS}/{re.sub(r'[^A-Za-z0-9._=,+-]+', '_', policy)}-seed{config.seed}"
        while name in names:
            name += "+"
        names.append(name)
    return names


def _in_order(function: Callable[..., T], tasks: Sequence[tuple[Any, ...]], jobs: int) -> Generator[T, None, None]:
    """Yield `function(*task)` for every task in order, from several processes if there are several tasks."""
    if jobs == 1 or len(tasks) <= 1:
        yield from (function(*task) for task in tasks)
        return
    from joblib import Parallel, delayed

    with local_workers():
        parallel = Parallel(n_jobs=jobs, return_as="generator")
        yield from start_workers(parallel, (delayed(function)(*task) for task in tasks))


def _run_one(
    config: RunConfig, place: Path | None, command: Sequence[str] | None, progress: OnProgress | None = None
) -> ComparedRun:
    tables = [] if place is None else list(COLUMNS)
    # If another process wrote this run meanwhile (a worker that outlived its parent by a second), it wrote the same.
    result = execute(
        resolve(config, draws=True),
        tables=tables,
        out=place,
        force=True,
        keep=["programs"],
        progress=progress,
        command=command,
    )
    return ComparedRun(result.summary, result.table("programs"))
