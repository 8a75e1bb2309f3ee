"""The congested rate of policies whose load holds: one closed loop each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from continuum_sim.capacities.measure import LEAST_COUNTED, fits_of, measure_point, programs_of_point
from continuum_sim.results.compared import Congested
from continuum_sim.results.summary import Summary
from continuum_sim.results.verdicts import joint_verdict
from continuum_sim.setup.notation import rate_of
from continuum_sim.setup.resolve import ResolvedRun, resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.steady.curve import BURST_FITS
from continuum_sim.steady.verdict import LEAST_PROGRAMS


def may_be_metastable(run: ResolvedRun, summaries: Sequence[Summary]) -> bool:
    """Return True if the congested rate is worth measuring for runs of one load.

    It is if the runs have a length and a rate, as for a service, and the load held in some run; but not if congesting
    the engine takes a burst of more programs than the run has.
    """
    length = run.config.length
    if not length.repeats or length.burst is not None or rate_of(run.arrivals_spec) is None:
        return False
    verdict = joint_verdict(summaries)
    if verdict is None or (verdict.kind == "grows" and verdict.collapsed is None):
        return False
    programs = min(summary.programs for summary in summaries)
    return programs >= max(LEAST_PROGRAMS, BURST_FITS * fits_of(run))


def measure_congested(config: RunConfig) -> Congested:
    """Measure the rate served with 5 times as many programs in the system as fit the KV cache."""
    run = resolve(config)
    fits = fits_of(run)
    workers = math.ceil(BURST_FITS * fits)
    programs = programs_of_point(workers, run.trace.programs, LEAST_COUNTED)
    closed = replace(
        config,
        arrivals=f"closed:workers={workers}",
        programs=programs,
        duration=None,
        population="trace",  # whole passes over the whole trace vary least
        warmup=None,
        cooldown=None,
    )
    return Congested(measure_point(resolve(replace(closed, trace=run.trace)))[0].value, fits)
