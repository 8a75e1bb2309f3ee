"""Bundled workloads from which any number of programs can be drawn: fits of traces, and recipes.

A recipe draws programs that match published figures, for traces that are not public.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from continuum_sim.traces.errors import TraceError, nearest, shown
from continuum_sim.traces.fit.model import TraceFit
from continuum_sim.traces.fit.store import load_fit
from continuum_sim.traces.generate.bfcl import generate_bfcl
from continuum_sim.traces.generate.swe import generate_swe
from continuum_sim.traces.schema import Program

_PROFILES: Final = Path(__file__).parent / "profiles"


@dataclass(frozen=True, slots=True)
class Recipe:
    """Generator of programs that match published figures.

    Attributes
    ----------
    name
        Its name for ``trace generate``.
    figures
        Which figures it matches, and where they are published.
    draw
        Yields a given number of programs, drawn from a random generator.
    """

    name: str
    figures: str
    draw: Callable[[int, np.random.Generator], Iterator[Program]]


_TABLE: Final = "Table 2 of the Continuum paper (arXiv 2511.02230)"
_RECIPES: Final = (
    Recipe("continuum-swe", f"SWE-Bench in {_TABLE}", generate_swe),
    Recipe(
        "continuum-bfcl", f"BFCL v4 web search in {_TABLE}, before scaling", partial(generate_bfcl, token_scale=1.0)
    ),
)


def profiles() -> dict[str, Path]:
    """Return the bundled fits: name to path, sorted by name."""
    return {path.stem: path for path in sorted(_PROFILES.glob("*.json"))}


def recipes() -> dict[str, Recipe]:
    """Return the recipes, by name."""
    return {recipe.name: recipe for recipe in _RECIPES}


def find_profile(name: str | os.PathLike[str]) -> TraceFit | Recipe:
    """Return what `name` means to ``trace generate``: a fit, as `find_fit` finds it, or a recipe.

    Raises
    ------
    TraceError
        If there is neither, or the file is not a fit.
    """
    recipe = None if Path(name).exists() else recipes().get(str(name))
    return find_fit(name) if recipe is None else recipe


def find_fit(name: str | os.PathLike[str]) -> TraceFit:
    """Return the fit that `name` means: a local file of that name, otherwise the bundled profile.

    Raises
    ------
    TraceError
        If there is neither, or the file is not a fit.
    """
    local = Path(name)
    if local.exists() and not local.is_dir():
        return load_fit(local)
    bundled = profiles()
    if str(name) in bundled:
        return load_fit(bundled[str(name)])
    if str(name) in recipes():
        raise TraceError(f"{name} is drawn from published figures: there is no fit of it, only `trace generate {name}`")
    known = sorted([*bundled, *recipes()])
    guess = nearest(str(name), known) or ","
    raise TraceError(
        f"fit {shown(str(name))} is neither a file here nor a profile{guess} profiles: {', '.join(known)} "
        "(`trace fit` makes a fit of a trace)"
    )
