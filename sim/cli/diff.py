"""`continuum-sim diff`: the differences between two runs, or two comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from continuum_sim.cli.options import Json

_Directory = Annotated[
    Path, typer.Argument(help="Directory of a run or of a comparison.", metavar="DIR", show_default=False)
]


def diff(a: _Directory, b: _Directory, json: Json = False) -> None:
    """Show what differs between two runs, or two comparisons: settings, versions, results, and where they part."""
    from continuum_sim.cli.console import show
    from continuum_sim.cli.layout import lay_out
    from continuum_sim.results.difference import RunDifference
    from continuum_sim.results.difference import diff as find
    from continuum_sim.results.view.diff import comparison_diff_view, run_diff_view

    found = find(a, b)
    if json:
        print(found.to_json(), end="")
    else:
        view = run_diff_view(found) if isinstance(found, RunDifference) else comparison_diff_view(found)
        show("\n".join(view.setting), "", lay_out(view))
