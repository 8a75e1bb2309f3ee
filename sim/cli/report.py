"""`continuum-sim report`: a run or a comparison as one HTML page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from continuum_sim.cli.errors import interruptible
from continuum_sim.cli.options import Json
from continuum_sim.cli.outcome import print_written, saying_beside


def report(
    directory: Annotated[
        Path, typer.Argument(help="Directory of a run or of a comparison.", metavar="DIR", show_default=False)
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="File to write. Default: report.html in the directory.", metavar="FILE", show_default=False),
    ] = None,
    pictures: Annotated[bool, typer.Option(help="Draw the figures that the results allow.")] = True,
    json: Json = False,
) -> None:
    """Write one self-contained HTML page: summary, interactive timeline, pictures, configuration."""
    from continuum_sim.cli.console import say
    from continuum_sim.report import write_report
    from continuum_sim.results.numbers import count

    with interruptible("interrupted; nothing was written"):
        page = write_report(directory, out, pictures=pictures)
    with saying_beside(page):
        if json:
            print_written(page)
            return
    size = f" ({count(page.stat().st_size)} bytes)" if page.is_file() else ""
    say(f"wrote {page}{size}")
