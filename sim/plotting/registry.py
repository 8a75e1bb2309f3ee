"""Figures by name: those of the gallery, and those of other packages."""

from __future__ import annotations

from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.names import Registry, check_names
from continuum_sim.plotting.spec import FigureSpec

FIGURE_ENTRY_POINTS: Final = "continuum_sim.figures"
"""Entry-point group through which other packages add figures; each names a `FigureSpec`."""

FIGURES: Final = Registry(
    "figure", error=ConfigError, kind=FigureSpec, folder="continuum_sim.plotting.gallery", group=FIGURE_ENTRY_POINTS
)


def all_figures() -> dict[str, FigureSpec]:
    """Return every figure by its name, in the order of listing and drawing."""
    return {
        figure.name: figure
        for figure in sorted(FIGURES.load().values(), key=lambda figure: (figure.place, figure.name))
    }


def find_figures(names: list[str] | None) -> list[FigureSpec]:
    """Look up figures by name; return all of them for None.

    Raises
    ------
    ConfigError
        For an unknown name; names the nearest one.
    """
    known = all_figures()
    check_names(names or (), known, "figure", error=ConfigError)
    return list(known.values()) if names is None else [known[name] for name in dict.fromkeys(names)]
