"""The length of a run, and which of its programs count."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from continuum_sim.errors import ConfigError, shown
from continuum_sim.steady.burst import BurstSpec
from continuum_sim.traces.arrivals import Burst, Closed, FromTrace, OpenArrivals
from continuum_sim.traces.passes import draw, passes
from continuum_sim.traces.schema import MOST_PROGRAMS, Program

LONG_WARMUP: Final = "10%"
"""Default warm-up, left out of the statistics of a run with a length. A fixed share has less bias than MSER-5, which
cuts off the high ends of a series that wanders."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Programs left out of the statistics at one end of a run, by arrival: a number, or a share of all arrivals."""

    number: int = 0
    share: float = 0.0

    def of(self, programs: int) -> int:
        """Return how many of `programs` arrivals are left out."""
        return self.number + math.floor(self.share * programs)

    def __str__(self) -> str:
        return f"{100 * self.share:g}%" if self.share else str(self.number)


def parse_cut(name: str, value: str | int | None) -> Cut:
    """Read a number of programs, or a share as in ``10%``; None means none.

    Raises
    ------
    ConfigError
        Naming the setting and what was expected.
    """
    if value is None:
        return Cut()
    text = str(value).strip()
    if not isinstance(value, bool):
        if match := re.fullmatch(r"(\d{1,3}(?:\.\d{1,9})?)%", text, re.ASCII):
            share = float(match[1]) / 100
            if share < 1:
                return Cut(share=share)
        elif re.fullmatch(r"\d{1,9}", text, re.ASCII):
            return Cut(int(text))
    raise ConfigError(f"{name} is {shown(value)}, expected a number of programs, or a share below 100% as in 10%")


@dataclass(frozen=True, slots=True)
class RunLength:
    """How many programs arrive, until when, and which of them count.

    Without `programs` and `duration_s` a run is the trace once, in its order. With either, the trace is repeated, each
    time in an order drawn with the seed (see `passes`). Recorded arrival times cover only one pass, so with them the
    trace is not repeated, only cut.
    """

    programs: int | None = None
    duration_s: float = math.inf
    """Time after which no program arrives or, in a closed load, starts."""
    warmup: Cut = Cut()
    cooldown: Cut = Cut()
    burst: BurstSpec | None = None
    """Extra programs on top of these."""
    drawn: bool = False
    """Whether a run repeats the same number of programs drawn from the trace, instead of the whole trace."""

    @property
    def repeats(self) -> bool:
        """Whether the run has a length."""
        return self.programs is not None or math.isfinite(self.duration_s)

    @property
    def cuts(self) -> bool:
        """Whether programs are left out of the statistics."""
        return self.warmup != Cut() or self.cooldown != Cut() or (self.burst is not None and not self.burst.counts)

    def distinct(self, trace: Iterable[Program], seed: int) -> Iterable[Program]:
        """Return the programs that a run repeats and that its burst is drawn from: the trace's, or a draw from them.

        A draw is the same for every policy under a seed.
        """
        if not self.drawn:
            return trace
        return draw(list(trace), np.random.default_rng([seed, _DRAW_STREAM]))

    def stream(self, trace: Iterable[Program], arrivals: OpenArrivals | Closed, seed: int) -> Iterable[Program]:
        """Return the programs of one run from its distinct ones, without a burst; equal for all policies of a seed."""
        if not self.repeats:
            return trace
        if isinstance(arrivals, FromTrace):
            return itertools.islice(trace, self.programs)
        # A generator of its own, so that arrival times do not depend on the order.
        rng = np.random.default_rng([seed, _ORDER_STREAM])
        return itertools.islice(passes(list(trace), rng), self.programs)

    def check(self, available: int, arrivals: OpenArrivals | Closed) -> None:
        """Refuse a length that is impossible for a trace of `available` programs.

        Raises
        ------
        ConfigError
            For recorded arrivals of fewer programs, a load without end, a burst on top of a closed load or another
            burst, a burst after the duration, a draw for recorded arrivals, or a warm-up that leaves nothing.
        """
        self._check_burst(arrivals)
        self._check_drawn(arrivals)
        total = self.programs if self.repeats else available
        if isinstance(arrivals, FromTrace):
            if self.programs is not None and self.programs > available:
                raise ConfigError(
                    f"programs is {self.programs:,}, and the trace has recorded arrivals of {available:,}: leave it "
                    "out, or say when programs arrive with rate or arrivals"
                )
            total = min(available, self.programs or available)
        elif isinstance(arrivals, Burst) and self.programs is None and self.repeats:
            raise ConfigError("a burst for a duration has no end: say how many programs it has (programs)")
        expected = self._expected_in_time(arrivals)
        if self.programs is None and math.isfinite(expected):
            if expected > MOST_PROGRAMS:
                raise ConfigError(
                    f"duration {self.duration_s:g} s at {expected / self.duration_s:g} programs/s is {expected:,.0f} "
                    f"programs, expected at most {MOST_PROGRAMS:,}"
                )
            return  # the number of arrivals is known only at the end
        if total is not None:
            self.counted(total + self._extra(counting=True))

    def _check_burst(self, arrivals: OpenArrivals | Closed) -> None:
        if self.burst is None:
            return
        asked = f"burst {self.burst}" if self.burst.counts else "start loaded"
        if isinstance(arrivals, Closed | Burst):
            load = "closed arrivals, where programs wait for each other" if isinstance(arrivals, Closed) else "a burst"
            raise ConfigError(f"{asked} comes on top of an open load, not of {load}: say one with rate or arrivals")
        if self.burst.at_s > self.duration_s:
            raise ConfigError(f"{asked} comes after the duration of {self.duration_s:g} s, expected a time within it")

    def _check_drawn(self, arrivals: OpenArrivals | Closed) -> None:
        if self.drawn and not self.repeats:
            raise ConfigError("population drawn is for a run with a length: give programs or duration, or leave it out")
        if self.drawn and isinstance(arrivals, FromTrace):
            raise ConfigError(
                "population drawn would give recorded arrival times to other programs: say when they arrive with "
                "rate or arrivals, or leave it out"
            )

    def _extra(self, *, counting: bool = False) -> int:
        """Return how many programs a burst adds; with `counting`, only those that count."""
        return 0 if self.burst is None or (counting and not self.burst.counts) else self.burst.programs

    def expected(self, programs: int, arrivals: OpenArrivals | Closed) -> int:
        """Return roughly how many programs will be served, given the trace's; a load with a burst is served twice."""
        most = self.programs or MOST_PROGRAMS
        load = programs
        if self.repeats and isinstance(arrivals, FromTrace):
            load = min(most, programs)
        elif self.repeats:
            load = max(1, round(min(most, self._expected_in_time(arrivals))))
        again = self.burst is not None and self.burst.counts
        return load * (2 if again else 1) + self._extra()

    def _expected_in_time(self, arrivals: OpenArrivals | Closed) -> float:
        """Return how many programs arrive within the duration on average; infinite if there is no rate."""
        rate = getattr(arrivals, "rate", None)
        return rate * self.duration_s if isinstance(rate, int | float) else math.inf

    def counted(self, arrived: int) -> tuple[int, int]:
        """Return the indices, by arrival, of the first program that counts and of the one after the last.

        `arrived` excludes the programs of a loaded start.

        Raises
        ------
        ConfigError
            If no program counts.
        """
        first, end = self.warmup.of(arrived), arrived - self.cooldown.of(arrived)
        if first >= end:
            raise ConfigError(
                f"a warm-up of {self.warmup} and a cool-down of {self.cooldown} leave none of {arrived:,} programs"
            )
        return first, end


_ORDER_STREAM: Final = 1
"""Separates the generator of orders from that of arrivals, which is seeded with the bare number."""
_DRAW_STREAM: Final = 3
"""Separates the generator of draws from those and from that of bursts, which is 2."""
