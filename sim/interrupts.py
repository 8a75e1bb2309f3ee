"""Requests to stop that cannot get lost, and blocks that they must not interrupt. Imports nothing of ours.

A signal handler raises `KeyboardInterrupt` wherever Python happens to be. In a destructor, or a callback that swallows
errors, the exception is lost and the command would go on. The handler of the command line therefore also notes the
signal here, and long work checks for it where it is safe to stop. Without such a handler, as in a notebook, nothing is
ever noted.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

_Item = TypeVar("_Item")

_noted: int | None = None
_held = 0


def note(number: int | None) -> None:
    """Note the number of the signal that asks to stop; None clears it."""
    global _noted
    _noted = number


def noted() -> int | None:
    """Return the signal that asked to stop; None if none did."""
    return _noted


def held() -> bool:
    """Return True if a handler must only note the signal, not raise."""
    return _held > 0


def stop_if_asked() -> None:
    """Stop here if a signal asked for it and its exception was swallowed.

    Raises
    ------
    KeyboardInterrupt
        Again, but not while another exception is being handled, so that cleanup may call this.
    """
    if _noted is not None and not _held and sys.exception() is None:
        raise KeyboardInterrupt


def stoppable(items: Iterable[_Item]) -> Iterator[_Item]:
    """Yield the items, and stop between two of them if a signal asked for it."""
    for item in items:
        stop_if_asked()
        yield item


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Run the block whole or not at all: stop before it if asked to, and defer signals until after it."""
    stop_if_asked()
    with held_back():
        yield


@contextmanager
def held_back() -> Iterator[None]:
    """Defer signals that arrive within the block."""
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
