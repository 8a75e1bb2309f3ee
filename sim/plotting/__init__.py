"""Publication figures made only from results: `figures` writes all that the data allow, `figure` returns one.

A figure is a module of `gallery/` (or another package's, by entry point) that makes a table from runs and a picture
from that table. Begin with `spec.py` and one module of the gallery. A picture never simulates, and the same data give
the same bytes.
"""

from continuum_sim.plotting.data import FigureData, MissingData
from continuum_sim.plotting.draw import figure, figures
from continuum_sim.plotting.files import DrawnFigure, FiguresResult, SkippedFigure
from continuum_sim.plotting.load import load
from continuum_sim.plotting.spec import FigureOptions, FigureSpec, FigureTable

__all__ = [
    "DrawnFigure",
    "FigureData",
    "FigureOptions",
    "FigureSpec",
    "FigureTable",
    "FiguresResult",
    "MissingData",
    "SkippedFigure",
    "figure",
    "figures",
    "load",
]
