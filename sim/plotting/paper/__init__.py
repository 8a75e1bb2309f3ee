"""The figures of the Continuum paper made again, with its published values beside ours."""

from continuum_sim.plotting.paper.draw import paper_figures
from continuum_sim.plotting.paper.figure import PaperFigure

__all__ = ["PaperFigure", "paper_figures"]
