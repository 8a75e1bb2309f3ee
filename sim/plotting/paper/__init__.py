"""The figures of the Continuum paper made again, with its published values beside ours.

Begin with `catalogue.py`, the figures in the paper's order; `draw.py` runs what they need. Published values come from
`published/` and settings from `scenarios/`, so nothing is typed in here.
"""

from continuum_sim.plotting.paper.draw import paper_figures
from continuum_sim.plotting.paper.figure import PaperFigure

__all__ = ["PaperFigure", "paper_figures"]
