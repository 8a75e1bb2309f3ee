"""One measurement, carried out in a worker process, here or on another machine."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import msgspec

from continuum_sim.capacities.measure import holds_from_empty, measure_drain, measure_point, recovers
from continuum_sim.capacities.search import COARSE, FINE, Threshold, find_threshold
from continuum_sim.errors import ConfigError, SimulationError
from continuum_sim.policies import PolicyError
from continuum_sim.setup.resolve import ResolvedRun, resolve
from continuum_sim.setup.run_config import RunConfig
from continuum_sim.setup.slo import NO_SLO, Slo
from continuum_sim.steady.curve import ServiceCurve
from continuum_sim.sweeps.traces import open_trace
from continuum_sim.traces.errors import TraceError

Kind = Literal["point", "drain", "empty", "burst"]


_Bounded = Annotated[float, msgspec.Meta(ge=0, le=1e30)]
"""Bounds on a number in a file, so that arithmetic cannot overflow."""


class Found(msgspec.Struct, frozen=True):
    """The result of a measurement: a rate with an interval, or the two rates between which something stops holding."""

    value: _Bounded
    low: _Bounded
    high: _Bounded
    even: bool = True
    """Only for a point: see `measure_point`."""
    runs: int = 1


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement."""

    kind: Kind
    policy: str
    """Full name."""
    cell: str
    """Identity of its run, without the rate if that is searched for."""
    config: RunConfig
    """Settings of the run; cheap to ship, since the trace is given by name."""
    trace_sha256: str
    curve: ServiceCurve | None = None
    """Like the fields below, only used if a rate is searched for."""
    begin_per_s: float = 0.0
    horizon: int = 0
    slo: Slo = NO_SLO

    @property
    def id(self) -> str:
        """Hash of everything that its result depends on."""
        curve = self.curve and (list(self.curve.n), list(self.curve.per_s), self.curve.fits)
        facts = [self.kind, self.cell, curve, self.begin_per_s, self.horizon, str(self.slo)]
        return hashlib.sha256(msgspec.json.encode(facts)).hexdigest()[:20]

    def measure(self) -> Found:
        """Carry out the measurement."""
        if self.kind == "point":
            rate, even = measure_point(self._run(self.config))
            return Found(rate.value, rate.low, rate.high, even)
        if self.kind == "drain":
            rate = measure_drain(self._run(self.config))
            return Found(rate.value, rate.low, rate.high)
        found = self._threshold()
        return Found((found.low_per_s * found.high_per_s) ** 0.5, found.low_per_s, found.high_per_s, runs=found.runs)

    def _threshold(self) -> Threshold:
        curve = self.curve
        assert curve is not None

        def holds(rate: float) -> bool:
            run = self._run(replace(self.config, arrivals=f"poisson:rate={rate!r}"))
            if self.kind == "empty":
                return holds_from_empty(run, curve=curve, slo=self.slo)
            return recovers(run, settled=curve.settled(rate), horizon=self.horizon, slo=self.slo)

        peak_per_s = curve.peak[1]
        most_per_s = peak_per_s * (_MOST_PEAKS if self.kind == "empty" else 1.0)
        return find_threshold(
            holds,
            step=COARSE if self.kind == "empty" else FINE,
            begin_per_s=self.begin_per_s,
            least_per_s=peak_per_s / _LEAST_OF_PEAK,
            most_per_s=most_per_s,
        )

    def _run(self, config: RunConfig) -> ResolvedRun:
        cut = (config.limit, config.max_turns, config.repeat_turns)
        return resolve(replace(config, trace=open_trace(str(config.trace), self.trace_sha256, *cut)))


_MOST_PEAKS = 2.0
"""Upper bound of the search from empty, as a multiple of the curve's peak."""
_LEAST_OF_PEAK = 100.0
"""Lower bound of the search: the peak divided by this. An objective that fails there does not fail because of the load.
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a measurement: its result, or the reason it failed."""

    id: str
    found: Found | None
    reason: str


def run_task(task: Task) -> Outcome:
    """Carry out a measurement; an error becomes its outcome instead of being raised."""
    found, reason = None, ""
    try:
        found = task.measure()
    except (ConfigError, PolicyError, TraceError, SimulationError, OSError) as error:
        reason = str(error)
    return Outcome(task.id, found, " ".join(reason.split()))
