"""When programs arrive: one frozen dataclass per arrival process, by name in ``ARRIVALS``.

Open processes pair each program with an arrival time, lazily and in order. `Closed` has no times:
its workers pull programs, so only the simulation knows when each starts.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, TypeAlias

import numpy as np

from continuum_sim.traces.errors import TraceError, shown
from continuum_sim.traces.schema import Program

MOST_WORKERS: Final = 1_000_000
"""Most workers of `Closed`; each is a process of the simulation."""

TimedPrograms: TypeAlias = Iterator[tuple[float, Program]]


class OpenArrivals(Protocol):
    """Arrivals that do not wait for the system: times are known before the run."""

    name: ClassVar[str]

    def times(self, programs: Iterable[Program], rng: np.random.Generator) -> TimedPrograms:
        """Yield ``(arrival_s, program)`` in the programs' order, times never decreasing."""
        ...


@dataclass(frozen=True, slots=True)
class Poisson:
    """Independent exponential gaps: many users who do not know of each other.

    Parameters
    ----------
    rate
        Mean programs per second. The first arrives one gap after time 0.
    """

    name: ClassVar[str] = "poisson"
    rate: float

    def __post_init__(self) -> None:
        _check_rate(self.name, self.rate)

    def times(self, programs: Iterable[Program], rng: np.random.Generator) -> TimedPrograms:
        """Yield ``(arrival_s, program)``; one draw per program."""
        now_s = 0.0
        for program in programs:
            now_s += rng.exponential(1.0 / self.rate)
            yield now_s, program


@dataclass(frozen=True, slots=True)
class Gamma:
    """Independent gamma-distributed gaps: like `Poisson`, but burstier or smoother.

    Parameters
    ----------
    rate
        Mean programs per second. The first arrives one gap after time 0.
    cv
        Coefficient of variation of the gaps (sd / mean): 1 is Poisson, above 1 bursty, towards 0 uniform.
        A gamma of mean 1/rate and this cv has shape 1/cv² and scale cv²/rate.
    """

    name: ClassVar[str] = "gamma"
    rate: float
    cv: float

    def __post_init__(self) -> None:
        _check_rate(self.name, self.rate)
        _check_number(self.name, "cv", self.cv, 1e-3, 1e3, "sd / mean of the gaps")

    def times(self, programs: Iterable[Program], rng: np.random.Generator) -> TimedPrograms:
        """Yield ``(arrival_s, program)``; one draw per program."""
        shape, scale_s = 1.0 / self.cv**2, self.cv**2 / self.rate
        now_s = 0.0
        for program in programs:
            now_s += rng.gamma(shape, scale_s)
            yield now_s, program


@dataclass(frozen=True, slots=True)
class Uniform:
    """Evenly spaced arrivals, without randomness.

    Parameters
    ----------
    rate
        Programs per second. The first arrives one gap (1/rate) after time 0, as in the limit of `Gamma`.
    """

    name: ClassVar[str] = "uniform"
    rate: float

    def __post_init__(self) -> None:
        _check_rate(self.name, self.rate)

    def times(self, programs: Iterable[Program], rng: np.random.Generator) -> TimedPrograms:
        """Yield ``(arrival_s, program)``; draws nothing from ``rng``."""
        for count, program in enumerate(programs, start=1):
            yield count / self.rate, program


@dataclass(frozen=True, slots=True)
class Burst:
    """Every program at time 0, in trace order."""

    name: ClassVar[str] = "burst"

    def times(self, programs: Iterable[Program], rng: np.random.Generator) -> TimedPrograms:
        """Yield ``(0.0, program)``; draws nothing from ``rng``."""
        for program in programs:
            yield 0.0, program


@dataclass(frozen=True, slots=True)
class FromTrace:
    """The trace's own ``arrival_s``, unchanged; the trace must be sorted by it."""

    name: ClassVar[str] = "trace"

    def times(self, programs: Iterable[Program], rng: np.random.Generator) -> TimedPrograms:
        """Yield ``(arrival_s, program)``; draws nothing from ``rng``.

        Raises
        ------
        TraceError
            At the first program that has no ``arrival_s`` or arrives before its predecessor: sorting
            would mean holding the whole trace.
        """
        last_s = 0.0
        for program in programs:
            if program.arrival_s is None:
                detail = "arrival_s is missing, expected one in every program (or other arrivals, e.g. poisson)"
                raise TraceError(detail, program_id=program.program_id)
            if program.arrival_s < last_s:
                expected = f"at least {last_s:g}, its predecessor's (sort the trace by arrival_s)"
                detail = f"arrival_s is {program.arrival_s:g}, expected {expected}"
                raise TraceError(detail, program_id=program.program_id)
            last_s = program.arrival_s
            yield last_s, program


@dataclass(frozen=True, slots=True)
class Closed:
    """A fixed number of workers; each takes the next program when its last one has finished.

    Parameters
    ----------
    workers
        Programs in the system at any time, until the trace runs out.
    """

    name: ClassVar[str] = "closed"
    workers: int

    def __post_init__(self) -> None:
        if type(self.workers) is not int or not 1 <= self.workers <= MOST_WORKERS:
            expected = f"an integer of at least 1 and at most {MOST_WORKERS:,}"
            raise ValueError(f"{self.name}: workers is {shown(self.workers)}, expected {expected}")


Arrivals: TypeAlias = Poisson | Gamma | Uniform | Burst | FromTrace | Closed

ARRIVALS: Final[dict[str, type[Arrivals]]] = {
    process.name: process for process in (Poisson, Gamma, Uniform, Burst, FromTrace, Closed)
}


def _check_rate(process: str, rate: float) -> None:
    _check_number(process, "rate", rate, 1e-9, 1e9, "programs per second")


def _check_number(process: str, parameter: str, value: float, low: float, high: float, unit: str) -> None:
    if type(value) not in (int, float) or not low <= value <= high:
        expected = f"a number from {low:g} to {high:g} ({unit})"
        raise ValueError(f"{process}: {parameter} is {shown(value)}, expected {expected}")
