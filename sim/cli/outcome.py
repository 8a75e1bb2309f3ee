"""Report what a command wrote, without the report ending up in that file."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any


def saying_beside(out: Path) -> AbstractContextManager[Any]:
    """Send what is printed in the block to standard error if standard output is the file (`-o /dev/stdout`)."""
    from continuum_sim.traces.files import is_stdout

    return redirect_stdout(sys.stderr) if is_stdout(out) else nullcontext()


def print_written(place: Path, **counts: Any) -> None:
    """Print what was written as JSON: its `path`, its `bytes` if it is a file, and the given counts."""
    from continuum_sim.results.jsonfile import to_json

    size = {"bytes": place.stat().st_size} if place.is_file() else {}
    print(to_json({"path": str(place), **size, **counts}), end="")
