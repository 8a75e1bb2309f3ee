"""`continuum-sim trace anonymize`: make a trace that can be shared."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.outcome import print_written, saying_beside


def anonymize_file(
    name: Annotated[
        str, typer.Argument(help="Trace file, or a bundled trace.", metavar="TRACE", autocompletion=completer("trace"))
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Trace to write (.gz, .zst: compressed).")],
    seed: Annotated[int, typer.Option(help="Seed of the times.")] = 0,
    json: Json = False,
) -> None:
    """Write a trace to share: numbers instead of names, times moved by less than a second."""
    from continuum_sim.cli.console import show_lines
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.cli.progress import counting
    from continuum_sim.errors import ConfigError
    from continuum_sim.traces import anonymize_trace, find_trace

    if seed < 0:
        raise ConfigError(f"--seed is {seed}, expected at least 0")
    path = find_trace(name)
    with interruptible("interrupted while anonymizing; nothing was written"), counting("programs written") as watch:
        programs = anonymize_trace(path, out, seed=seed, watch=watch)
    with saying_beside(out):
        if json:
            print_written(out, programs=programs, seed=seed)
        else:
            show_lines(f"{out}: {programs:,} programs, seed {seed}")
