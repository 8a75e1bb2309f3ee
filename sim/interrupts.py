"""A request to stop that cannot get lost, and stretches it may not cut in two. Imports nothing of ours.

A signal's handler raises `KeyboardInterrupt` wherever Python happens to be. In a destructor or a callback that swallows
errors it is lost, and the command would go on. So the handler (the command line has one) also notes it here, and long
work looks at the note where it is safe to stop. Without such a handler, as in a notebook, nothing is ever noted.
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
    """Keep the number of the signal that asks to stop; None forgets it."""
    global _noted
    _noted = number


def noted() -> int | None:
    """Return the signal that asked to stop, if one did."""
    return _noted


def held() -> bool:
    """Whether a handler must leave it at the note."""
    return _held > 0


def stop_if_asked() -> None:
    """Stop here if a signal asked for it and what it raised was swallowed.

    Raises
    ------
    KeyboardInterrupt
        Once more; not while an error is on its way, so that cleaning up may call this.
    """
    if _noted is not None and not _held and sys.exception() is None:
        raise KeyboardInterrupt


def stoppable(items: Iterable[_Item]) -> Iterator[_Item]:
    """Pass items on, and stop between two of them if a signal asked for it."""
    for item in items:
        stop_if_asked()
        yield item


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Do the block whole or not at all: stop before it if asked to, and let a signal that comes meanwhile wait."""
    stop_if_asked()
    with held_back():
        yield


@contextmanager
def held_back() -> Iterator[None]:
    """Let a signal that comes within the block wait."""
    global _held
    _held += 1
    try:
        yield
    finally:
        _held -= 1
