"""Processes that this one starts: they leave Ctrl-C to it and do not outlive it."""

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
"""Seconds after which an idle worker ends and frees its memory."""


@contextmanager
def local_workers() -> Iterator[None]:
    """Let joblib's `Parallel` run on processes of this machine within the block."""
    from joblib import parallel_config

    usual = threading.excepthook

    def hush(failed: threading.ExceptHookArgs) -> None:
        # After Ctrl-C loky's manager thread may fail because its work is gone; a traceback of that helps nobody.
        if failed.thread is None or failed.thread.name != "ExecutorManagerThread":
            usual(failed)

    threading.excepthook = hush
    # For the same reason: joblib's warnings about calls that an interruption left undone or unread.
    warnings.filterwarnings("ignore", r".*\btasks (which were still being processed|have been successfully executed)")
    begin = {"initializer": _begin_worker, "initargs": (os.getpid(),)}
    with parallel_config(backend="loky", inner_max_num_threads=1, idle_worker_timeout=_IDLE_S, **begin):
        yield
    threading.excepthook = usual  # not restored after an interruption: the thread may still fail


def start_workers(parallel: Any, calls: Iterable[Any]) -> Generator[Any, None, None]:
    """Pass joblib's calls to workers, which are started with signals blocked; return the outcomes as they come.

    A worker can ignore Ctrl-C only after about a second of imports; until then it would die of it with a traceback.
    """
    if not hasattr(signal, "pthread_sigmask"):
        outcomes: Generator[Any, None, None] = parallel(calls)
        return outcomes
    from multiprocessing import resource_tracker

    from joblib.externals.loky.backend import resource_tracker as loky_tracker

    # Started now: every worker needs both trackers, and starting one unblocks signals.
    resource_tracker.ensure_running()
    loky_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _signals())
    try:
        outcomes = parallel(calls)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return outcomes


def end_with_parent() -> None:
    """Make a `multiprocessing` process end with its parent, even if the parent is killed."""
    if (parent := multiprocessing.parent_process()) is not None:
        _end_after(parent.join)


def _begin_worker(parent: int) -> None:
    """Ignore signals that a terminal or `timeout` sends to every process; the parent handles them and ends workers."""
    for number in _signals():
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _signals())

    def orphaned() -> None:
        # Not Linux's PR_SET_PDEATHSIG, which follows the thread that started this process and may end much earlier.
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
