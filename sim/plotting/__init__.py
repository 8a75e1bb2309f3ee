"""Publication figures made only from results: `figures` writes all that the data allow, `figure` returns one.

A figure is a module of `continuum_sim.plotting.gallery`, or of another package by entry point, that makes a table from
runs and a picture from that table.
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
