"""The same runs with all step times at the ends of their error, where seeds are too few to show what it does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from continuum_sim.hardware import GpuSpec, find_gpu
from continuum_sim.results.compared import ComparedRun
from continuum_sim.results.estimate import LEAST_RUNS
from continuum_sim.results.measured import counted_jct_s
from continuum_sim.results.survival import AtEnds
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steptime.common import error_of, with_factor, without_error
from continuum_sim.steptime.uncertain import ends


def error_in(config: RunConfig) -> float:
    """Return the error of a run's step times; 0 if they have none."""
    gpu = config.gpu if isinstance(config.gpu, GpuSpec) else find_gpu(config.gpu)
    return error_of(config.step_time, gpu)


def sure(config: RunConfig) -> RunConfig:
    """Return the run with step times as the model has them."""
    if not isinstance(config.step_time, str):
        return config
    return replace(config, step_time=without_error(config.step_time))


def at_ends(
    configs: Sequence[RunConfig],
    runs: Sequence[ComparedRun],
    baseline: str,
    min_effect: float,
    run_all: Callable[[Sequence[RunConfig]], Iterable[ComparedRun]],
) -> list[AtEnds]:
    """Return whether differences of the first seed survive the error of step times.

    Empty without an error, or if there are seeds enough for verdicts: each draws step times of its own, which
    intervals then cover.

    Parameters
    ----------
    configs, runs
        One per policy and seed, policy by policy, the same seeds for each.
    run_all
        Carries out runs, in order.
    """
    seeds = len({config.seed for config in configs})
    error = error_in(configs[0])
    first, found = list(configs[::seeds]), list(runs[::seeds])
    if not error or seeds >= LEAST_RUNS or len(first) < 2:
        return []
    low, high = ends(error)
    further = [
        replace(config, step_time=with_factor(str(config.step_time), factor))
        for factor in (low, high)
        for config in first
    ]
    means = [float(np.mean(counted_jct_s(run.programs, run.summary))) for run in (*found, *run_all(further))]
    names = [run.summary.policy for run in found]
    base = names.index(baseline)
    each = [means[start : start + len(names)] for start in range(0, len(means), len(names))]
    return [
        AtEnds(
            policy=name,
            error=error,
            seed=first[0].seed,
            ratio=each[0][at] / each[0][base],
            low_factor=low,
            low_ratio=each[1][at] / each[1][base],
            high_factor=high,
            high_ratio=each[2][at] / each[2][base],
            min_effect=min_effect,
        )
        for at, name in enumerate(names)
        if at != base
    ]
