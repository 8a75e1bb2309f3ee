"""Processes that this one starts: they leave Ctrl-C to it, and do not outlive it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, Final

_POLL_S: Final = 1.0
_IDLE_S: Final = 15
"""A worker without work ends after so long, and gives its memory back."""


@contextmanager
def local_workers() -> Iterator[None]:
    """Have joblib's `Parallel` run on processes of this machine within the block."""
    from joblib import parallel_config

    usual = threading.excepthook

    def hush(failed: threading.ExceptHookArgs) -> None:
        # After Ctrl-C loky's manager may find the work gone that it hands out; a traceback of that helps nobody.
        if failed.thread is None or failed.thread.name != "ExecutorManagerThread":
            usual(failed)

    threading.excepthook = hush
    # Of the same kind, and as late: joblib's counts of calls that an interruption left undone or unread.
    warnings.filterwarnings("ignore", r".*\btasks (which were still being processed|have been successfully executed)")
    begin = {"initializer": _begin_worker, "initargs": (os.getpid(),)}
    with parallel_config(backend="loky", inner_max_num_threads=1, idle_worker_timeout=_IDLE_S, **begin):
        yield
    threading.excepthook = usual  # not after an interruption: the thread may still be about to fail


def start_workers(parallel: Any, calls: Iterable[Any]) -> Generator[Any, None, None]:
    """Hand joblib's calls to workers, which are started with signals blocked; return the outcomes as they come.

    Until a worker can ignore Ctrl-C, which takes it the second in which it imports, it would die of it and say so.
    """
    if not hasattr(signal, "pthread_sigmask"):
        outcomes: Generator[Any, None, None] = parallel(calls)
        return outcomes
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    # Every worker gets both, and starting one unblocks signals.
    resource_tracker.ensure_running()
    loky_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _signals())
    try:
        outcomes = parallel(calls)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return outcomes


def end_with_parent() -> None:
    """Have a process of `multiprocessing` end with the one that started it, even if that was killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        _end_after(parent.join)


def _begin_worker(parent: int) -> None:
    """Leave signals that a terminal or `timeout` sends to every process to the one that asked: it ends its workers."""
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _signals())

    def orphaned() -> None:
        # Not Linux's PR_SET_PDEATHSIG: that goes by the thread that started this process, which may end long before.
        while os.getppid() == parent:
            time.sleep(_POLL_S)

    _end_after(orphaned)  # loky's processes do not know `multiprocessing.parent_process`


def _signals() -> list[signal.Signals]:
    return [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


def _end_after(wait: Callable[[], object]) -> None:
    def watch() -> None:
        wait()
        os._exit(1)

    threading.Thread(target=watch, name="continuum-sim-parent", daemon=True).start()
