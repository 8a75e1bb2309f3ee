"""What is replayed: the programs with their arrival times, the same for the simulator and for every engine run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from continuum_sim.traces.arrivals import Closed, FromTrace, OpenArrivals
from continuum_sim.traces.schema import MAX_TOKENS_FINISH, Program


@dataclass(frozen=True)
class Workload:
    """Programs in order of arrival."""

    programs: tuple[Program, ...]
    """With `arrival_s` set, unless workers pull them."""
    workers: int | None = None
    """Concurrent programs of a closed loop; None if arrivals have times."""

    @property
    def arrivals(self) -> FromTrace | Closed:
        """The arrival process over these programs."""
        return FromTrace() if self.workers is None else Closed(self.workers)


def make_workload(programs: Sequence[Program], arrivals: OpenArrivals | Closed, seed: int) -> Workload:
    """Draw the arrival times, once for all runs; the client asks for each turn's length, so the token limit ends it."""
    programs = [_cut_by_limit(program) for program in programs]
    if isinstance(arrivals, Closed):
        return Workload(tuple(programs), arrivals.workers)
    times = arrivals.times(programs, np.random.default_rng(seed))
    return Workload(tuple(replace(program, arrival_s=arrival_s) for arrival_s, program in times))


def _cut_by_limit(program: Program) -> Program:
    return replace(program, turns=tuple([replace(turn, finish=MAX_TOKENS_FINISH) for turn in program.turns]))
