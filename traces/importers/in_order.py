"""Programs of many files in the order of arrival, on a clock that begins with the trace."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from typing import Final

import msgspec

from continuum_sim.traces.schema import Program

SINCE_1970_S: Final = 1e8
"""A clock reading of over three years counts from 1970, because no log is that long."""


def in_order(programs: Iterable[Program]) -> Iterator[Program]:
    """Yield programs by ``arrival_s``, those without one first and otherwise in their given order.

    Files are read one after the other, but what ran at the same time in several of them must arrive at the same time
    again. Instants since 1970 become seconds since the first of them.
    """
    rest = iter(programs)
    for program in rest:
        if program.arrival_s is not None:
            yield from _sorted(chain([program], rest))
            return
        yield program


def _sorted(programs: Iterable[Program]) -> Iterator[Program]:
    """Sort programs on disk, with one time and one place per program in memory."""
    import numpy as np

    arrivals_s, places = array("d"), array("q", [0])
    encode, read = msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder(Program).decode
    with tempfile.TemporaryFile() as file:
        for program in programs:
            arrivals_s.append(-1.0 if program.arrival_s is None else program.arrival_s)
            places.append(places[-1] + file.write(encode(program)))
        del program  # may be large, and is read again later
        zero = min((at for at in arrivals_s if at > SINCE_1970_S), default=0.0)
        file.seek(0)
        place = 0
        for index in np.argsort(np.array(arrivals_s), kind="stable").tolist():
            if places[index] != place:  # rare if they came in order
                file.seek(places[index])
            place = places[index + 1]
            program = read(file.read(place - places[index]))
            at = program.arrival_s
            yield program if at is None or at <= SINCE_1970_S else replace(program, arrival_s=at - zero)
