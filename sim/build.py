"""Identify this build: with the hot modules compiled or not, and from which commit."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def build_name() -> str:
    """Return `compiled` or `pure Python`; both give the same results to the byte."""
    spec = find_spec("continuum_sim.engine.scheduler")  # one of the modules that are compiled
    assert spec is not None
    assert spec.origin is not None
    return "pure Python" if spec.origin.endswith(".py") else "compiled"


@cache
def commit() -> str | None:
    """Return the commit of this code, followed by `-dirty` if the sources differ from it; None if unknown.

    An installed package stores it at build time; an editable installation asks git.
    """
    here = Path(__file__).resolve().parent
    told = here / "commit.txt"
    if told.is_file():
        return told.read_text("utf-8").strip() or None
    if not (here.parent / ".git").exists():
        return None
    asked = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
