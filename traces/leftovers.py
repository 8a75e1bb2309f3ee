"""Temporary names beside a file or folder, and what to do with those whose owner was killed.

The living hold a lock on theirs, which ends with them however they end; a process id would not do, as every container
counts its own. Where there are no such locks (Windows, some network file systems), leftovers stay.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import sys
from contextlib import suppress
from typing import Final, Literal

if sys.platform != "win32":
    import fcntl

_LONGEST_NAME: Final = 200
"""Bytes of a name that a temporary beside it repeats: file systems allow 255."""


def new_token() -> str:
    """Return what tells one writer's temporary names from all others'."""
    return secrets.token_hex(6)


def beside(target: str, kind: Literal["new", "old"], token: str) -> str:
    """Name what will take the place of `target` (`new`), or was moved out of it (`old`)."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f"{_prefix(name)}{kind}-{token}.tmp")


def _prefix(name: str) -> str:
    encoded = os.fsencode(name)
    kept = encoded[:_LONGEST_NAME].decode("utf-8", "ignore")
    if kept.encode() != encoded:
        kept += f".{hashlib.sha256(encoded).hexdigest()[:8]}"
    return f".{kept}."


def clear_leftovers(target: str) -> None:
    """Remove what killed processes left beside a place, and put back what one had moved away from it.

    What is somebody else's, or has other names, or cannot be removed, is let alone.
    """
    folder, name = os.path.split(target)
    pattern = re.compile(re.escape(_prefix(name)) + r"(new|old)-([0-9a-f]{12})\.tmp")
    try:
        found = [match for entry in os.listdir(folder) if (match := pattern.fullmatch(entry))]
    except OSError:
        return
    new = {match[2] for match in found if match[1] == "new"}
    old = {match[2] for match in found if match[1] == "old"}
    for token in new:
        path = beside(target, "new", token)
        if (lock := _lock_of_dead(path)) is not None:
            if token in old:  # killed between its two renames
                with suppress(OSError):  # there may be something newer in the place
                    os.rename(beside(target, "old", token), target)
            _remove(path)
            release(lock)
    for token in old - new:  # killed after them
        path = beside(target, "old", token)
        if (lock := _lock_of_dead(path)) is not None:
            _remove(path)
            release(lock)


def lock_file(opened: int) -> int | None:
    """Lock an open file for as long as this process lives, or until `release`; None where that cannot be."""
    return _lock(os.dup(opened), wait=True)


def lock_folder(folder: str) -> int | None:
    """Lock a folder; see `lock_file`."""
    if sys.platform == "win32":
        return None  # a folder cannot be opened there
    with suppress(OSError):
        return _lock(os.open(folder, os.O_RDONLY), wait=True)
    return None


def take_folder(folder: str) -> int | None:
    """Lock a folder that one process at a time may fill; None where that cannot be.

    Raises
    ------
    BlockingIOError
        If another one does.
    """
    if sys.platform == "win32":
        return None
    opened = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(opened)
        raise
    except OSError:
        os.close(opened)
        return None
    return opened


def release(lock: int | None) -> None:
    """Let go of a lock."""
    if lock is not None:
        os.close(lock)


def _lock_of_dead(path: str) -> int | None:
    """Take the lock of a leftover of this user's; None if somebody holds it, or nobody can tell."""
    if sys.platform == "win32":
        return None
    with suppress(OSError):
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        if os.fstat(opened).st_uid == os.geteuid():
            return _lock(opened, wait=False)
        os.close(opened)
    return None


def _lock(opened: int, *, wait: bool) -> int | None:
    if sys.platform != "win32":
        with suppress(OSError):
            fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            return opened
    os.close(opened)
    return None


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            os.unlink(path)
