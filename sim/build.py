"""Which build this is: the same code, with the hot modules compiled or not, and of which commit."""

from __future__ import annotations

import subprocess
from functools import cache
from importlib.util import find_spec
from pathlib import Path


def build_name() -> str:
    """`compiled` or `pure Python`; results are the same to the byte."""
    spec = find_spec("continuum_sim.engine.scheduler")  # the heart of what is compiled
    assert spec is not None
    assert spec.origin is not None
    return "pure Python" if spec.origin.endswith(".py") else "compiled"


@cache
def commit() -> str | None:
    """Return the commit of this code, with `-dirty` behind it where the sources differ from it; None if unknown.

    An installed package was told when it was built, an editable installation asks git.
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
