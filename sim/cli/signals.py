"""Signals that stop a command: Ctrl-C, SIGTERM and SIGHUP all clean up and print one line."""

from __future__ import annotations

import signal
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final, TypeVar

from continuum_sim import interrupts

_SIGNALS: Final = ("SIGINT", "SIGTERM", "SIGHUP")
"""SIGHUP, sent when a terminal closes, does not exist on every system."""
T = TypeVar("T")
_DEFAULTS: Final = (signal.SIG_DFL, signal.default_int_handler)


@contextmanager
def stop_signals(*, then_exit: bool) -> Iterator[None]:
    """Let signals stop the block with `KeyboardInterrupt`, which `interrupts` remembers in case it is swallowed.

    Signals that the caller ignores (`nohup`, a shell's background) or handles itself are left alone.

    Parameters
    ----------
    then_exit
        Whether the process ends after the block. Signals are then ignored, so that an impatient second Ctrl-C does not
        interrupt Python's own cleanup.
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
    """Return the exit code of a command that a signal stopped: 128 plus its number, as in shells; 130 after Ctrl-C."""
    # If a KeyboardInterrupt has ever left code run from a string (as `namedtuple` does), caught or not, Python ends
    # itself with SIGINT whatever the exit code. Running another such string makes it forget.
    exec("")
    return 128 + (interrupts.noted() or signal.SIGINT)


def run_async(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine with `asyncio.run`, which on Ctrl-C cancels it and lets it clean up what it started."""
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
