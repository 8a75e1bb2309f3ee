"""Figures by name: ours, and those that other packages ship."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.plotting.spec import FigureSpec
from continuum_sim.policies.errors import PolicyError
from continuum_sim.policies.registry import check_names

FIGURE_ENTRY_POINTS: Final = "continuum_sim.figures"
"""Entry point group through which other packages add figures; each names a `FigureSpec`."""

_OURS: Final = (
    "jct_vs_rate",
    "jct_cdf",
    "throughput",
    "time_breakdown",
    "ablation",
    "kv_occupancy",
    "wait_per_turn",
    "ratio_vs_turns",
    "ttl_sensitivity",
    "dram_size",
    "chunk_size",
    "batch_size",
)
"""Modules of `continuum_sim.plotting.gallery`, in the order in which figures are listed and drawn."""


def all_figures() -> dict[str, FigureSpec]:
    """Return every figure by its name, ours first.

    Others' that cannot be loaded, or have a name that is taken, are left out with a warning.
    """
    ours = (import_module(f"continuum_sim.plotting.gallery.{module}").FIGURE for module in _OURS)
    found: dict[str, FigureSpec] = {figure.name: figure for figure in ours}
    for point in entry_points(group=FIGURE_ENTRY_POINTS):
        try:
            figure = point.load()
            if not isinstance(figure, FigureSpec):
                raise TypeError(f"is {type(figure).__name__}, expected a FigureSpec")
            if figure.name in found:
                raise ValueError(f"the name {figure.name!r} is taken")
        except Exception as error:
            print(f"warning: figure {point.name!r} cannot be loaded ({point.value}): {error}", file=sys.stderr)
        else:
            found[figure.name] = figure
    return found


def find_figures(names: list[str] | None) -> list[FigureSpec]:
    """Look figures up by name, naming the nearest where there is none; all of them for None.

    Raises
    ------
    ConfigError
        For a name that no figure has.
    """
    known = all_figures()
    try:
        check_names(names or (), known, "figures", what="figure")
    except PolicyError as error:
        raise ConfigError(str(error)) from None
    return list(known.values()) if names is None else [known[name] for name in dict.fromkeys(names)]
