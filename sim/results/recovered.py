"""Recovery from a burst, as stored in the summary of a run, and over several runs of one load."""

from __future__ import annotations

import zlib
from array import array
from collections.abc import Sequence
from statistics import fmean

import msgspec
import numpy as np

from continuum_sim.results.summary import RunRecovery, Summary
from continuum_sim.steady.burst import Burst
from continuum_sim.steady.recovery import recovery
from continuum_sim.steady.verdict import Kind
from continuum_sim.world.records import ProgramRecord


class LoadJcts:
    """Arrivals and JCTs of a load's programs without the burst's; three numbers per program."""

    def __init__(self, burst: Burst) -> None:
        self.burst = burst
        self._arrival_s, self._jct_s = array("d"), array("d")
        self._names = array("q")
        """Hash of each program's name, to order programs that arrive together."""

    def program(self, record: ProgramRecord) -> None:
        """Add a finished program."""
        if record.parent is None and not self.burst.owns(record.program):
            self._arrival_s.append(record.arrival_s)
            self._jct_s.append(record.jct_s)
            self._names.append(zlib.crc32(record.program.encode()))

    def by_arrival(self) -> tuple[np.ndarray, np.ndarray]:
        """Return arrivals and JCTs, in the same order for the same programs."""
        arrival_s, jct_s = np.frombuffer(self._arrival_s), np.frombuffer(self._jct_s)
        order = np.lexsort((np.frombuffer(self._names, np.int64), arrival_s))
        return arrival_s[order], jct_s[order]


def recovery_of(load: LoadJcts, without: LoadJcts, kind: Kind) -> RunRecovery:
    """Compare the programs of a load with a burst and without it.

    Parameters
    ----------
    load, without
        The same programs, with the burst and without.
    kind
        The verdict on the load without the burst.
    """
    spec = load.burst.spec
    arrival_s, jct_s = load.by_arrival()
    found = recovery(arrival_s, jct_s, without.by_arrival()[1], spec.at_s)
    return RunRecovery(
        burst_programs=spec.programs,
        burst_at_s=spec.at_s,
        recovered=found.recovered,
        after_s=found.seconds,
        after_programs=found.programs,
        looked_at_programs=found.programs_looked_at,
        last_ratio=found.ratios[-1] if found.ratios else None,
        without=kind,
    )


class JointRecovery(msgspec.Struct, frozen=True):
    """Recovery over several runs of one load and burst."""

    burst_programs: int
    burst_at_s: float
    runs: int
    recovered: int
    after_s: float | None
    """Mean over the runs that recovered."""
    after_programs: float | None
    looked_at_programs: int
    """Arrivals after the burst in the run that had the fewest."""
    grow_without: int
    """Runs whose backlog grows without the burst as well."""


def joint_recovery(summaries: Sequence[Summary]) -> JointRecovery | None:
    """Combine runs of one load under one policy; None if a run has no burst."""
    parts = [summary.recovery for summary in summaries]
    found = [part for part in parts if isinstance(part, RunRecovery)]
    if not found or len(found) < len(parts):
        return None
    after_s = [part.after_s for part in found if part.after_s is not None]
    after_programs = [part.after_programs for part in found if part.after_programs is not None]
    return JointRecovery(
        burst_programs=found[0].burst_programs,
        burst_at_s=found[0].burst_at_s,
        runs=len(found),
        recovered=sum(part.recovered for part in found),
        after_s=fmean(after_s) if after_s else None,
        after_programs=fmean(after_programs) if after_programs else None,
        looked_at_programs=min(part.looked_at_programs for part in found),
        grow_without=sum(part.without == "grows" for part in found),
    )
