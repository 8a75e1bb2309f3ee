"""End the processes of an engine, and no others."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

_GRACE_S: Final = 5.0
"""Seconds between terminating and killing a process."""


def descendants(of: Iterable[int] | None = None) -> list[int]:
    """Return the living descendants of these processes (default: this one), parents before children.

    Reads Linux's /proc; elsewhere there is nothing to read and vLLM's own shutdown must suffice.
    """
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError, ValueError, IndexError):
            # pid (name, which may hold anything) state ppid …
            text = entry.read_text(encoding="utf-8", errors="replace")
            state, ppid = text[text.rindex(")") + 2 :].split()[:2]
            if state != "Z":
                parents[int(entry.parent.name)] = int(ppid)
    found: list[int] = []
    generation = [os.getpid()] if of is None else list(of)
    while generation:
        generation = [pid for pid, ppid in parents.items() if ppid in generation]
        found += generation
    return found


def end_processes(pids: Iterable[int]) -> None:
    """End these processes and their descendants; kill those that do not end within seconds.

    Python's resource tracker is spared: it cleans up shared memory and ends with its parent.
    """
    roots = list(pids)
    doomed = {pid for pid in (*roots, *descendants(roots)) if _is_alive(pid) and not _is_tracker(pid)}
    for pid in doomed:
        _signal(pid, signal.SIGTERM)
    deadline_s = time.monotonic() + _GRACE_S
    while doomed and time.monotonic() < deadline_s:
        time.sleep(0.05)
        doomed = {pid for pid in doomed if _is_alive(pid)}
    for pid in doomed:
        _signal(pid, signal.SIGKILL)
    multiprocessing.active_children()  # reaps those that it started


def _is_alive(pid: int) -> bool:
    multiprocessing.active_children()
    with suppress(OSError, ValueError, IndexError):
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        return text[text.rindex(")") + 2] != "Z"
    return False


def _is_tracker(pid: int) -> bool:
    with suppress(OSError):
        return b"resource_tracker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    return False


def _signal(pid: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
