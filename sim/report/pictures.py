"""The pictures that a directory of results allows, ready to be put into a page."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple


class Picture(NamedTuple):
    """A drawing and what it shows."""

    caption: str
    base64: str
    """The SVG. As an image it cannot run a script, whatever names are in it."""


def pictures_of(directory: Path) -> list[Picture]:
    """Draw every figure for which the results suffice."""
    from continuum_sim.plotting import figures

    with TemporaryDirectory(prefix="continuum-sim-report-") as folder:
        drawn = figures(directory, out=folder, formats=("svg",)).drawn
        found = []
        for figure in drawn:
            (svg,) = [path for path in figure.files if path.suffix == ".svg"]
            found.append(Picture(figure.caption, b64encode(svg.read_bytes()).decode("ascii")))
    return found
