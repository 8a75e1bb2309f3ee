"""What a command says of the file it wrote, kept out of that file."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any


def saying_beside(out: Path) -> AbstractContextManager[Any]:
    """Send what is printed in the block to standard error if standard output is the file (`-o /dev/stdout`)."""
    from continuum_sim.traces.files import is_stdout

    return redirect_stdout(sys.stderr) if is_stdout(out) else nullcontext()
