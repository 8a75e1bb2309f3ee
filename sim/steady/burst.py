"""A burst: programs that arrive at once on top of the load, to see whether a service recovers."""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final

import numpy as np

from continuum_sim.errors import ConfigError, shown
from continuum_sim.traces.arrivals import OpenArrivals, TimedPrograms
from continuum_sim.traces.passes import extra_passes, free_mark
from continuum_sim.traces.schema import Program

_MOST: Final = 10**6
_LATEST_S: Final = 1e9
"""Same as the longest duration."""
_MARK: Final = "+"
_BURST_STREAM: Final = 2
"""Separates the generator of a burst's programs from those of arrivals and orders."""


@dataclass(frozen=True, slots=True)
class BurstSpec:
    """A burst as asked for: extra programs of the trace, all at `at_s`."""

    programs: int
    at_s: float
    counts: bool = True
    """Whether its programs are part of the statistics; those of a loaded start are not."""

    def __str__(self) -> str:
        return f"{self.programs}@{self.at_s:g}"


LOADED: Final = BurstSpec(100, 0.0, counts=False)
"""The burst that stands for a loaded start."""


def parse_burst(value: str | int | None) -> BurstSpec | None:
    """Read ``100`` or ``100@3600``; None means no burst.

    Raises
    ------
    ConfigError
        If it is of neither form, or out of range.
    """
    if value is None:
        return None
    match = re.fullmatch(r"(\d{1,9})(?:@(\d*\.?\d*(?:[eE][+-]?\d{1,3})?))?", str(value).strip(), re.ASCII)
    if match and not isinstance(value, bool):
        try:
            programs, at_s = int(match[1]), float(match[2] or 0) if match[2] != "" else math.nan
        except ValueError:
            programs, at_s = 0, math.nan
        if 1 <= programs <= _MOST and 0 <= at_s <= _LATEST_S:
            return BurstSpec(programs, at_s)
    raise ConfigError(
        f"burst is {shown(value)}, expected 1 to {_MOST:,} programs, and when they come if not at 0 s: 100 or 100@3600"
    )


@dataclass(frozen=True, slots=True)
class Burst:
    """The burst of one run, distinguished from the rest of its load by a mark in the names of its programs.

    The rest is the same with and without the burst: the same programs, under the same names, at the same times.
    """

    spec: BurstSpec
    mark: str

    @classmethod
    def on(cls, trace: Iterable[Program], spec: BurstSpec) -> Burst:
        """Return a burst with a mark that no program name of the trace contains."""
        return cls(spec, free_mark(trace, _MARK))

    def owns(self, program: str) -> bool:
        """Return True if a program or sub-agent of this name belongs to the burst."""
        return self.mark in program

    def programs(self, trace: Iterable[Program], seed: int) -> Iterator[Program]:
        """Draw the burst's programs; the same for every policy under a seed."""
        return extra_passes(trace, self.spec.programs, np.random.default_rng([seed, _BURST_STREAM]), self.mark)


@dataclass(frozen=True)
class WithBurst:
    """Arrivals of a load with a burst among them."""

    name: ClassVar[str] = "with-burst"
    load: OpenArrivals
    at_s: float
    extra: Iterable[Program]

    def times(self, programs: Iterable[Program], rng: np.random.Generator) -> TimedPrograms:
        """Yield ``(arrival_s, program)`` of both, in order of time."""
        burst = ((self.at_s, program) for program in self.extra)
        return heapq.merge(self.load.times(programs, rng), burst, key=lambda timed: timed[0])
