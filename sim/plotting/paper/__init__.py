"""The figures of the Continuum paper reproduced, with its published values next to ours."""

from continuum_sim.plotting.paper.draw import paper_figures
from continuum_sim.plotting.paper.figure import PaperFigure

__all__ = ["PaperFigure", "paper_figures"]
