"""How a command with an engine ends when the engine fails or the user interrupts it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer


@contextmanager
def orderly() -> Iterator[None]:
    """Report an engine's failure as one line with exit code 2, and on interruption say what is kept."""
    from continuum_sim.cli.errors import interruptible, say_error
    from continuum_sim.validate.engines.interface import EngineError

    try:
        with interruptible("interrupted; what was finished is kept, and the same command continues from there"):
            yield
    except EngineError as error:
        say_error(error)
        raise typer.Exit(2) from None
