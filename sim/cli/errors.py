"""Errors that a user can fix, as one line on standard error."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import typer

from continuum_sim import interrupts

_MOST_CHARACTERS: Final = 1_200
"""Longest line printed; even deep paths are shorter."""

# Typer's copy of Click or Click itself, depending on Typer's version: no single import path works for both.
_UsageError: Final = typer.BadParameter.__mro__[1]


class Interrupted(Exception):
    """Raised for Ctrl-C or another signal to stop; says what had been done and what is kept."""


@contextmanager
def interruptible(said: str | Callable[[], str]) -> Iterator[None]:
    """Turn Ctrl-C into an `Interrupted` that says what had been done; a callable `said` is called at that moment.

    Any error after a signal becomes one, too: workers that got the same signal may be found dead first.
    """
    try:
        yield
    except (KeyboardInterrupt, Exception) as error:
        if isinstance(error, Interrupted) or not (isinstance(error, KeyboardInterrupt) or interrupts.noted()):
            raise
        raise Interrupted(said if isinstance(said, str) else said()) from None


def user_errors() -> tuple[type[BaseException], ...]:
    """Return the exceptions that are the input's fault rather than the program's."""
    from continuum_sim.errors import ConfigError, SimulationError
    from continuum_sim.policies.errors import PolicyError
    from continuum_sim.traces.errors import TraceError

    return (_UsageError, ConfigError, PolicyError, SimulationError, TraceError, OSError)


def say_error(error: BaseException, arguments: Sequence[str] = ()) -> None:
    """Print `error: …` on standard error, always on one line; `arguments` are the command line."""
    if isinstance(error, _UsageError):
        from continuum_sim.cli.usage import usage_text

        text = usage_text(error, arguments)
    elif isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error)
    from continuum_sim.traces.printable import printable

    print("error:", printable(_shortened(" ".join(text.split()))), file=sys.stderr)


def _shortened(line: str) -> str:
    """Shorten long numbers to their first digits, and cut the middle out of a line that would fill a screen."""
    line = re.sub(r"\d{60,}", lambda found: f"{found[0][:12]}… ({len(found[0])} digits)", line)
    return line if len(line) <= _MOST_CHARACTERS else f"{line[: _MOST_CHARACTERS - 400]} … {line[-390:]}"
