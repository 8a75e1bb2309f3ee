"""Draw the README's picture: service curves of four policies, and the loads that each sustains; from simulations alone.

Run it from the root of the repository: ``python docs/readme_figure.py`` (twelve minutes on two cores; given a folder
it goes on where it was stopped).
"""

from __future__ import annotations

import sys
from pathlib import Path

import continuum_sim as cs
from continuum_sim.plotting.files import draw_table
from continuum_sim.plotting.gallery.service_curve import FIGURE
from continuum_sim.plotting.load import load
from continuum_sim.plotting.spec import FigureOptions
from continuum_sim.plotting.style import picture_bytes, styled

POLICIES = ("lru", "ttl", "ttl:pressure=younger", "session-gate:limit=24")
TARGET = Path("docs", "img", "readme.png")


def main(folder: str | None = None) -> None:
    """Write docs/img/readme.png."""
    if folder is not None and folder.startswith("-"):
        raise SystemExit(__doc__)
    found = cs.capacity(POLICIES, trace="swebench.jsonl", out=folder)
    print(found.table.T.to_string())
    figure = draw_table(FIGURE.draw, FIGURE.take(load(found), FigureOptions()))
    with styled():
        TARGET.write_bytes(picture_bytes(figure, "png", dpi=230))


if __name__ == "__main__":
    main(*sys.argv[1:])
