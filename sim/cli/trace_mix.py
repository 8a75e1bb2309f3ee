"""`continuum-sim trace mix`: blend several traces into one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from continuum_sim.cli.complete import completer
from continuum_sim.cli.options import Json
from continuum_sim.cli.outcome import saying_beside


def mix_files(
    traces: Annotated[
        list[str],
        typer.Argument(
            help="Traces (files, or bundled) with their weights, 1 if left out.",
            metavar="TRACE:WEIGHT…",
            autocompletion=completer("trace"),
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Trace to write (.gz, .zst: compressed).")],
    programs: Annotated[
        int | None,
        typer.Option("--programs", "-n", help="Programs in all. Default: the most without copies."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of all draws.")] = 0,
    json: Json = False,
) -> None:
    """Blend programs of several traces in given proportions, in random order."""
    from continuum_sim.cli.errors import interruptible
    from continuum_sim.cli.progress import counting
    from continuum_sim.errors import ConfigError
    from continuum_sim.results.jsonfile import to_json
    from continuum_sim.traces.mix import mix_traces, parse_weighted

    for flag, value, least in (("--programs", programs, 1), ("--seed", seed, 0)):
        if value is not None and value < least:
            raise ConfigError(f"{flag} is {value}, expected at least {least}")
    weighted = [parse_weighted(text) for text in traces]
    with interruptible("interrupted while mixing; nothing was written"), counting("programs written") as watch:
        made = mix_traces(weighted, out, programs=programs, seed=seed, watch=watch)
    from continuum_sim.cli.console import show_lines

    with saying_beside(out):
        if json:
            parts = [{**asdict(part), "path": str(part.path)} for part in made.parts]
            print(to_json({"path": str(made.path), "programs": made.programs, "parts": parts}), end="")
            return
        show_lines(f"{out}: {made.programs:,} programs, seed {seed}")
        for part in made.parts:
            copies = " (some several times)" if part.programs > part.available else ""
            show_lines(f"  {part.name}: {part.programs:,} programs, of {part.available:,} in {part.path.name}{copies}")
