"""Ctrl-C, and a polite kill that is to end a command in the same way: cleaned up, and with one line said."""

from __future__ import annotations

import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

from continuum_sim import interrupts

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
"""SIGHUP, of a terminal that goes away, is not on every system."""
T = TypeVar("T")
_DEFAULTS: Final = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def stop_signals(*, then_exit: bool) -> Iterator[None]:
    """Have signals stop the block by `KeyboardInterrupt`, which `interrupts` keeps should it be swallowed.

    Signals that the caller ignores (`nohup`, a shell's background) or handles himself are left to him.

    Parameters
    ----------
    then_exit
        Whether the process ends with the block. Signals are ignored from there on, so that an impatient second Ctrl-C
        does not cut into Python's own cleaning up.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    found = [getattr(signal, name) for name in _SIGNALS if hasattr(signal, name)]
    before = {number: was for number in found if (was := signal.getsignal(number)) in _DEFAULTS}
    interrupts.note(None)
    try:
        for number in before:
            signal.signal(number, _stop)
        yield
    finally:
        with interrupts.held_back():
            for number, was in before.items():
                signal.signal(number, signal.SIG_IGN if then_exit else was)
        interrupts.note(None)


def exit_code() -> int:
    """Exit code of a command that a signal stopped: 128 and its number, as shells have it; 130 after Ctrl-C."""
    # Python ends itself by SIGINT, whatever the exit code, if a KeyboardInterrupt ever left code that was a text
    # (`namedtuple` makes such), caught or not; it forgets so when it runs the next one.
    exec("")
    return 128 + (interrupts.noted() or signal.SIGINT)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run`, which on Ctrl-C cancels it and lets it end what it started."""
    import asyncio

    ours = [number for name in _SIGNALS if signal.getsignal(number := getattr(signal, name, signal.SIGINT)) is _stop]
    try:
        for number in ours:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else _stop_as_ctrl_c)
        return asyncio.run(work)
    finally:
        for number in ours:
            signal.signal(number, _stop)


def _stop_as_ctrl_c(number: int, frame: FrameType | None) -> None:
    interrupts.note(number)
    signal.raise_signal(signal.SIGINT)


def _stop(number: int, frame: FrameType | None) -> None:
    interrupts.note(number)
    if not interrupts.held():
        raise KeyboardInterrupt
