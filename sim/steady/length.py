"""How long a run is, and which of its programs count."""

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
"""Left out of the statistics of a run whose length was asked for, unless it says something else. A fixed share has
less bias than MSER-5, which cuts high ends of a series that wanders."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Programs left out of the statistics at one end of a run, by arrival: a number, or a share of those that came."""

    number: int = 0
    share: float = 0.0

    def of(self, programs: int) -> int:
        """How many of so many arrivals."""
        return self.number + math.floor(self.share * programs)

    def __str__(self) -> str:
        return f"{100 * self.share:g}%" if self.share else str(self.number)


def parse_cut(name: str, value: str | int | None) -> Cut:
    """Read a number of programs, or a share as in ``10%``; None is none.

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

    Without `programs` and `duration_s` a run is the trace once, in its order. With either, it is the trace over and
    over, each time in an order drawn with the seed (see `passes`); recorded arrival times are of one pass, so that
    there the trace stays as it is and is only cut.
    """

    programs: int | None = None
    duration_s: float = math.inf
    """After which no program arrives or, in a closed load, starts."""
    warmup: Cut = Cut()
    cooldown: Cut = Cut()
    burst: BurstSpec | None = None
    """Programs on top of these."""
    drawn: bool = False
    """Whether the programs that are repeated are as many draws from the trace, not all of it."""

    @property
    def repeats(self) -> bool:
        """Whether it was asked for a length."""
        return self.programs is not None or math.isfinite(self.duration_s)

    @property
    def cuts(self) -> bool:
        """Whether programs are left out of the statistics."""
        return self.warmup != Cut() or self.cooldown != Cut() or (self.burst is not None and not self.burst.counts)

    def distinct(self, trace: Iterable[Program], seed: int) -> Iterable[Program]:
        """Return the programs that a run repeats, and that a burst takes its own from: the trace's, or a draw of them.

        A draw, too, is the same for every policy under a seed.
        """
        if not self.drawn:
            return trace
        return draw(list(trace), np.random.default_rng([seed, _DRAW_STREAM]))

    def stream(self, trace: Iterable[Program], arrivals: OpenArrivals | Closed, seed: int) -> Iterable[Program]:
        """Return the programs of one run from its distinct ones, a burst aside; the same for every policy of a seed."""
        if not self.repeats:
            return trace
        if isinstance(arrivals, FromTrace):
            return itertools.islice(trace, self.programs)
        # Not the arrivals' generator: the load comes at the same times whatever the order.
        rng = np.random.default_rng([seed, _ORDER_STREAM])
        return itertools.islice(passes(list(trace), rng), self.programs)

    def check(self, available: int, arrivals: OpenArrivals | Closed) -> None:
        """Refuse a length that cannot be, of a trace of so many programs.

        Raises
        ------
        ConfigError
            For recorded arrivals of fewer programs, a load without end, a burst on top of a load that waits for it or
            after all of it, a draw for a replay, or a warm-up that leaves nothing.
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
            return  # how many arrive is known at the end
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
        """How many programs a burst brings, or of those that count."""
        return 0 if self.burst is None or (counting and not self.burst.counts) else self.burst.programs

    def expected(self, programs: int, arrivals: OpenArrivals | Closed) -> int:
        """Return about how many programs will be served, of a trace of so many: a load with a burst twice."""
        most = self.programs or MOST_PROGRAMS
        load = programs
        if self.repeats and isinstance(arrivals, FromTrace):
            load = min(most, programs)
        elif self.repeats:
            load = max(1, round(min(most, self._expected_in_time(arrivals))))
        again = self.burst is not None and self.burst.counts
        return load * (2 if again else 1) + self._extra()

    def _expected_in_time(self, arrivals: OpenArrivals | Closed) -> float:
        """How many programs come within the duration, on average; infinite where nothing says so."""
        rate = getattr(arrivals, "rate", None)
        return rate * self.duration_s if isinstance(rate, int | float) else math.inf

    def counted(self, arrived: int) -> tuple[int, int]:
        """Return the places, by arrival, of the first program that counts and the one after the last.

        Programs that were there before the run are not among those that arrived.

        Raises
        ------
        ConfigError
            If there is none.
        """
        first, end = self.warmup.of(arrived), arrived - self.cooldown.of(arrived)
        if first >= end:
            raise ConfigError(
                f"a warm-up of {self.warmup} and a cool-down of {self.cooldown} leave none of {arrived:,} programs"
            )
        return first, end


_ORDER_STREAM: Final = 1
"""Sets the generator of orders apart from that of arrivals, whose seed is the bare number."""
_DRAW_STREAM: Final = 3
"""Sets the generator of draws apart from those and from that of bursts, which has 2."""
