"""Errors a user can mend, as one line on standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import typer

INTERRUPTED: Final = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells have it."""

# Typer's copy of Click or Click itself, depending on Typer's version: no one name imports this class.
_UsageError: Final = typer.BadParameter.__mro__[1]


class Interrupted(Exception):
    """Ctrl-C, with what had been done and what is kept."""


@contextmanager
def interruptible(said: str | Callable[[], str]) -> Iterator[None]:
    """Turn Ctrl-C into an `Interrupted` that says what had been done, looked up when it happens."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(said if isinstance(said, str) else said()) from None


def user_errors() -> tuple[type[BaseException], ...]:
    """Everything that is the input's fault rather than the program's."""
    from continuum_sim.errors import ConfigError, SimulationError
    from continuum_sim.policies.errors import PolicyError
    from continuum_sim.traces.errors import TraceError

    return (_UsageError, ConfigError, PolicyError, SimulationError, TraceError, OSError)


def say_error(error: BaseException) -> None:
    """Print `error: …` on standard error, on one line whatever is in it."""
    if isinstance(error, _UsageError):
        text = error.format_message()  # type: ignore[attr-defined]
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error)
    from continuum_sim.traces.printable import printable

    print("error:", printable(" ".join(text.split())), file=sys.stderr)
