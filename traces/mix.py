"""Blend several traces into one, with a given share of programs from each, in random order."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.generate.draws import subset
from continuum_sim.traces.header import TraceHeader
from continuum_sim.traces.load import find_trace, read_header, read_programs, trace_sha256
from continuum_sim.traces.schema import MOST_PROGRAMS, Child, Program
from continuum_sim.traces.write import write_programs


@dataclass(frozen=True, slots=True)
class MixPart:
    """One trace of a mix.

    Attributes
    ----------
    name
        Prefix of its programs' ids.
    path
        The file.
    share
        Requested share of the mix's programs.
    available
        Programs in the file.
    programs
        Programs drawn for the mix; more than ``available`` if some are repeated.
    """

    name: str
    path: Path
    share: float
    available: int
    programs: int


@dataclass(frozen=True, slots=True)
class Mixed:
    """What a mix holds; its parts are in the order given."""

    path: Path
    parts: tuple[MixPart, ...]

    @property
    def programs(self) -> int:
        """Number of programs in all parts."""
        return sum(part.programs for part in self.parts)


def mix_traces(
    weighted: Sequence[tuple[str | os.PathLike[str], float]],
    out: str | os.PathLike[str],
    *,
    programs: int | None = None,
    seed: int = 0,
    watch: Callable[[Iterator[Program]], Iterator[Program]] = lambda programs: programs,
) -> Mixed:
    """Write programs of several traces to one, in proportion to weights; the same seed gives the same bytes.

    Only programs count; their sub-agents come along. Shares are rounded by largest remainders. Both the programs taken
    from a trace and the order of traces are drawn without replacement; programs of one trace stay in its order. If more
    are wanted than a trace has, all of its programs repeat. Ids become ``TRACE:ID``, copies ``TRACE:ID#2`` and so on,
    and ids of shared prefixes ``TRACE:PREFIX``: two traces never share a prefix, copies do. Arrival times are left out,
    because different traces have no common clock.

    Reads every trace twice and holds one program at a time.

    Parameters
    ----------
    weighted
        Traces (files, or names of bundled traces) with their weights, above 0.
    out
        The trace to write; see `write_programs`.
    programs
        Number of programs; by default as many as possible without copies.
    seed
        Seeds all draws.
    watch
        Sees the programs pass by, to show progress.

    Raises
    ------
    TraceError
        If a trace is not valid or named twice, a weight is not a number above 0, or a trace gets no program; nothing is
        written then.
    """
    if programs is not None and not 1 <= programs <= MOST_PROGRAMS:
        raise TraceError(f"programs is {programs:,}, expected a number from 1 to {MOST_PROGRAMS:,}")
    paths = [find_trace(path) for path, _ in weighted]
    weights = [weight for _, weight in weighted]
    _check(paths, weights)
    available = [sum(1 for _ in read_programs(path)) for path in paths]
    shares = [weight / math.fsum(weights) for weight in weights]
    # Rounding each share down stays within what each trace has.
    total = programs or max(1, int(min(n / share for n, share in zip(available, shares, strict=True))))
    counts = _apportion(shares, total)
    parts = tuple(map(MixPart, _names(paths), paths, shares, available, counts))
    for part in parts:
        if not part.programs:
            raise TraceError(f"{part.path.name} gets no program of {total}, expected more programs or a larger weight")
    rng = np.random.Generator(np.random.PCG64(seed))
    write_programs(out, watch(_interleaved(parts, rng)), _header(parts, seed))
    return Mixed(Path(out), parts)


def parse_weighted(text: str) -> tuple[str, float]:
    """Return the trace and the weight of ``TRACE:WEIGHT``; the weight defaults to 1.

    Raises
    ------
    TraceError
        If the weight is not a number above 0.
    """
    if Path(text).exists():
        return text, 1.0
    name, colon, number = text.rpartition(":")
    if not colon:
        return text, 1.0
    try:
        weight = float(number)
    except ValueError:
        raise TraceError(f"{text!r}: the weight is {number!r}, expected a number above 0, as in {name}:0.7") from None
    return name, weight


def _check(paths: list[Path], weights: list[float]) -> None:
    if not paths:
        raise TraceError("no trace to mix, expected at least one, as in swebench:0.7 bfcl:0.3")
    for path, weight in zip(paths, weights, strict=True):
        if not (weight > 0 and math.isfinite(weight)):
            raise TraceError(f"the weight of {path.name} is {weight:g}, expected a number above 0")
    seen: set[Path] = set()
    for path in paths:
        if path.resolve() in seen:
            raise TraceError(f"{path.name} appears twice, expected every trace once")
        seen.add(path.resolve())


def _apportion(shares: list[float], total: int) -> list[int]:
    """Return whole numbers in proportion to shares, by largest remainders; the first of equal ones wins."""
    exact = [share * total for share in shares]
    counts = [int(number) for number in exact]
    by_remainder = sorted(range(len(shares)), key=lambda index: counts[index] - exact[index])
    for index in by_remainder[: total - sum(counts)]:
        counts[index] += 1
    return counts


def _names(paths: list[Path]) -> list[str]:
    """Return short, distinct names for files."""
    names: list[str] = []
    for path in paths:
        stem = path.name.split(".", 1)[0] or path.name
        name, number = stem, 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names.append(name)
    return names


def _interleaved(parts: Sequence[MixPart], rng: np.random.Generator) -> Iterator[Program]:
    # The last round through a trace takes only some of its programs.
    chosen = [subset(rng, part.programs % part.available, part.available) for part in parts]
    streams = [_drawn(part, some) for part, some in zip(parts, chosen, strict=True)]
    left = [part.programs for part in parts]
    while total := sum(left):
        place = int(rng.random() * total)
        index = 0
        while place >= left[index]:
            place -= left[index]
            index += 1
        left[index] -= 1
        yield next(streams[index])


def _drawn(part: MixPart, some: set[int]) -> Iterator[Program]:
    rounds = part.programs // part.available
    for number in range(rounds + 1):
        if number == rounds and not some:
            return
        for index, program in enumerate(read_programs(part.path)):
            if number < rounds or index in some:
                yield _renamed(program, f"{part.name}:", f"#{number + 1}" if number else "")


def _renamed(program: Program, before: str, after: str) -> Program:
    prefix = program.shared_prefix
    children = tuple(
        Child(_renamed(child.program, before, after), child.after_turn, child.join_turn) for child in program.children
    )
    return replace(
        program,
        program_id=f"{before}{program.program_id}{after}",
        arrival_s=None,
        shared_prefix=None if prefix is None else replace(prefix, id=f"{before}{prefix.id}"),
        children=children,
    )


def _header(parts: Sequence[MixPart], seed: int) -> TraceHeader:
    measured: list[str] = []
    derived = [f"mixed with seed {seed} of {len(parts)} traces, their programs named TRACE:ID"]
    missing = ["arrival_s: the traces have no clock in common"]
    for part in parts:
        derived.append(
            f"{part.name}: {part.programs} programs of the {part.available} of {part.path.name} "
            f"(share {part.share:.4g}, SHA-256 {trace_sha256(part.path)[:16]}…)"
        )
        source = read_header(part.path)
        if source is not None:
            measured += [f"{part.name}: {item}" for item in source.measured]
            derived += [f"{part.name}: {item}" for item in source.derived]
            missing += [f"{part.name}: {item}" for item in source.missing]
    return TraceHeader("mixed", tuple(measured), tuple(derived), tuple(missing), files=len(parts))
