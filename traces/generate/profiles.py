"""Workloads that come with the package as fits, to draw any number of programs from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from continuum_sim.traces.errors import TraceError, nearest, shown
from continuum_sim.traces.fit.model import TraceFit
from continuum_sim.traces.fit.store import load_fit

_PROFILES: Final = Path(__file__).parent / "profiles"


def profiles() -> dict[str, Path]:
    """Return the bundled fits: name to path, sorted by name."""
    return {path.stem: path for path in sorted(_PROFILES.glob("*.json"))}


def find_fit(name: str | os.PathLike[str]) -> TraceFit:
    """Return the fit that `name` means: that of a local file of that name, else the bundled profile.

    Raises
    ------
    TraceError
        If there is neither, or the file is no fit.
    """
    local = Path(name)
    if local.exists() and not local.is_dir():
        return load_fit(local)
    bundled = profiles()
    if str(name) in bundled:
        return load_fit(bundled[str(name)])
    guess = nearest(str(name), bundled) or ","
    raise TraceError(
        f"fit {shown(str(name))} is no file here and no profile{guess} profiles: {', '.join(bundled)} "
        "(`trace fit` makes a fit of a trace)"
    )
