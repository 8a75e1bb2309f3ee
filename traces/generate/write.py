"""Write drawn programs to a trace file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from continuum_sim.traces.fit.model import TraceFit
from continuum_sim.traces.generate.from_fit import generate_programs
from continuum_sim.traces.generate.profiles import Recipe
from continuum_sim.traces.header import TraceHeader
from continuum_sim.traces.schema import Program
from continuum_sim.traces.write import write_programs


def generate_trace(
    fit: TraceFit | Recipe,
    n_programs: int,
    seed: int,
    out: str | os.PathLike[str],
    *,
    name: str = "program",
    watch: Callable[[Iterator[Program]], Iterator[Program]] = lambda programs: programs,
) -> int:
    """Write programs drawn from a fit or a recipe to a trace file; the same seed gives the same bytes.

    Returns the number of programs.

    Parameters
    ----------
    fit, n_programs, name
        As in `generate_programs`.
    seed
        From 0.
    out
        The file; see `write_programs`.
    watch
        Sees the programs pass by, to show progress.

    Raises
    ------
    ValueError
        If `n_programs` is below 1 or `seed` below 0.
    TraceError
        If the fit gives no valid programs; nothing is written then.
    """
    rng = np.random.Generator(np.random.PCG64(seed))
    if isinstance(fit, Recipe):
        derived = f"{n_programs} programs drawn with seed {seed} to match {fit.figures}"
        header = TraceHeader(format="generated", derived=(derived,), missing=("arrival times", "shared prefixes"))
        return write_programs(out, watch(_named(fit.draw(n_programs, rng), name)), header)
    source = fit.source
    header = TraceHeader(
        format="generated",
        derived=(
            f"{n_programs} programs drawn with seed {seed} from a fit of {source.trace} ({source.programs} programs, "
            f"{source.turns} turns, SHA-256 {source.sha256[:16]}…)",
            *((source.about,) if source.about else ()),
        ),
        missing=("arrival times", "sub-agents", "several tools at once: one tool under their common label"),
    )
    return write_programs(out, watch(generate_programs(fit, n_programs, rng, name=name)), header)


def _named(programs: Iterator[Program], name: str) -> Iterator[Program]:
    return (replace(program, program_id=f"{name}-{number:06d}") for number, program in enumerate(programs))
