"""Write a trace file in another size."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from continuum_sim.traces.header import TraceHeader
from continuum_sim.traces.load import read_header, read_programs
from continuum_sim.traces.scale import Scale, Tail
from continuum_sim.traces.schema import Program
from continuum_sim.traces.unfit import Fitting
from continuum_sim.traces.write import write_programs


def rescale_trace(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    scale: Scale | None = None,
    tail: Tail | None = None,
    limit: int | None = None,
    max_turns: int | None = None,
    fitting: Fitting | None = None,
    watch: Callable[[Iterator[Program]], Iterator[Program]] = lambda programs: programs,
) -> int:
    """Write `path` to `out`, scaled and then with stretched tails; return the number of programs.

    Streams; a tail needs an extra reading first, to find where it begins. The header of `out` says what was done.

    Parameters
    ----------
    path, out
        The trace to read and the one to write; see `write_programs` for how it is written.
    scale, tail
        The changes; ``None`` changes nothing.
    limit, max_turns
        As in `read_programs`.
    fitting
        Drops or cuts programs that are still too long after scaling; it holds the counts when this returns.
    watch
        Sees the programs pass by, to show progress.

    Raises
    ------
    TraceError
        If the trace is not valid, or no program is left; nothing is written then.
    """
    size = scale or Scale()
    header = read_header(path) or TraceHeader(format="continuum")
    changes = [
        f"{what} / {divisor:g}"
        for what, divisor in (("token counts", size.tokens), ("gaps", size.gaps), ("outputs", size.outputs))
        if divisor != 1
    ]

    def sized(watch: Callable[[Iterator[Program]], Iterator[Program]], fitting: Fitting | None) -> Iterator[Program]:
        programs = size.apply(watch(read_programs(path, limit=limit, max_turns=max_turns)))
        return programs if fitting is None else fitting.apply(programs)

    programs = sized(watch, fitting)
    if tail is not None:
        # Dividing all gaps divides their quantiles too, so the tail is that of the scaled trace.
        begin_s = tail.begin_s(sized(lambda programs: programs, fitting and fitting.fresh()))
        programs = tail.apply(programs, begin_s)
        changes.append(f"calls beyond the {tail.quantile:g} quantile of their tool's stretched {tail.stretch:g} times")

    def described() -> TraceHeader:
        if fitting is not None:
            changes.append(fitting.counted)
        done = f"another size of {Path(path).name}: {', '.join(changes) or 'nothing changed'}"
        return replace(header, derived=(*header.derived, done))

    # What was dropped is known only after the last program.
    return write_programs(out, programs, described() if fitting is None else described)
