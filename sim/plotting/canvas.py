"""A figure that a notebook shows by itself."""

from __future__ import annotations

from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from continuum_sim.plotting.names import texts_as_they_are
from continuum_sim.plotting.style import picture_bytes


class PrintFigure(Figure):
    """A figure that draws into memory, and is shown where it is the last line of a notebook's cell.

    Matplotlib leaves that to pyplot, whose global state this package does without.
    """

    def __init__(self, width_in: float, height_in: float) -> None:
        super().__init__(figsize=(width_in, height_in), layout="constrained")
        FigureCanvasAgg(self)

    def draw(self, renderer: Any) -> None:
        """Draw, with the names in it as they are."""
        texts_as_they_are(self)
        super().draw(renderer)

    def _repr_png_(self) -> bytes:
        return picture_bytes(self, "png")
