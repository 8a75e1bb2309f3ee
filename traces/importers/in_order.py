"""Programs of many files in the order of arrival, on a clock that begins with the trace."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Final

from continuum_sim.traces.schema import Program
from continuum_sim.traces.write import encode_each, move_arrival

SINCE_1970_S: Final = 1e8
"""A clock reading of over three years counts from 1970, because no log is that long."""


def in_order(programs: Iterable[Program]) -> Iterator[bytes]:
    """Yield the lines of programs by ``arrival_s``, those without one first and otherwise in their given order.

    Files are read one after the other, but what ran at the same time in several of them must arrive at the same time
    again. Instants since 1970 become seconds since the first of them.

    Raises
    ------
    TraceError
        If a program breaks a rule, or two share an id.
    """
    rest = encode_each(programs)
    for program, line in rest:
        if program.arrival_s is not None:
            yield from _sorted(chain([(program, line)], rest))
            return
        yield line


def _sorted(programs: Iterable[tuple[Program, bytes]]) -> Iterator[bytes]:
    """Sort lines on disk, with one time and one place per program in memory."""
    import numpy as np

    arrivals_s, places = array("d"), array("q", [0])
    with tempfile.TemporaryFile() as file:
        for program, line in programs:
            arrivals_s.append(-1.0 if program.arrival_s is None else program.arrival_s)
            places.append(places[-1] + file.write(line))
        del program, line  # may be large
        zero = min((at for at in arrivals_s if at > SINCE_1970_S), default=0.0)
        file.seek(0)
        place = 0
        for index in np.argsort(np.array(arrivals_s), kind="stable").tolist():
            if places[index] != place:  # rare if they came in order
                file.seek(places[index])
            place = places[index + 1]
            line, at = file.read(place - places[index]), arrivals_s[index]
            yield line if at <= SINCE_1970_S else move_arrival(line, at, at - zero)
