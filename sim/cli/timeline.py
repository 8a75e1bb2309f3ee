"""`continuum-sim timeline`: export a run for Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from continuum_sim.cli.errors import interruptible
from continuum_sim.cli.options import Json
from continuum_sim.cli.outcome import print_written, saying_beside


def timeline(
    directory: Annotated[Path, typer.Argument(help="A run's directory.", metavar="DIR", show_default=False)],
    perfetto: Annotated[
        Path,
        typer.Option(
            help="File to write: Perfetto's own format, or Chrome's if it ends in .json; compressed if in .gz.",
            metavar="FILE",
            show_default=False,
        ),
    ],
    json: Json = False,
) -> None:
    """Write what every program did, and the engine's memory and queue, as a trace for Perfetto."""
    from continuum_sim.cli.console import say
    from continuum_sim.cli.progress import share_bar
    from continuum_sim.results.numbers import count
    from continuum_sim.tracks import export_timeline

    with interruptible("interrupted; nothing was written"), share_bar(f"writing {perfetto.name}") as progress:
        done = export_timeline(directory, perfetto, progress=progress)
    with saying_beside(perfetto):
        if json:
            print_written(perfetto, programs=done.programs, spans=done.spans, pins=done.pins)
            return
    pins = "no pins: the run has no decisions.jsonl (see --decisions)" if done.pins is None else f"{done.pins:,} pins"
    size = f" ({count(done.bytes)} bytes)" if perfetto.is_file() else ""
    say(
        f"wrote {perfetto}{size}: {done.programs:,} programs, {done.spans:,} spans, {pins}; "
        "open it at https://ui.perfetto.dev"
    )
