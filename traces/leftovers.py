"""Temporary names beside a file or folder, and how those of killed processes are cleared away.

A living process holds a lock on its temporaries, which the system drops however the process ends. Process ids would not
do, because every container counts its own. Where such locks do not exist (Windows, some network file systems),
leftovers stay.
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
"""How many bytes of a file's name its temporary repeats: file systems allow 255."""


def new_token() -> str:
    """Return a token that distinguishes one writer's temporary names from all others'."""
    return secrets.token_hex(6)


def beside(target: str, kind: Literal["new", "old"], token: str) -> str:
    """Return the name of what will replace `target` (`new`), or of what was moved out of its place (`old`)."""
    folder, name = os.path.split(target)
    return os.path.join(folder, f"{_prefix(name)}{kind}-{token}.tmp")


def _prefix(name: str) -> str:
    encoded = os.fsencode(name)
    kept = encoded[:_LONGEST_NAME].decode("utf-8", "ignore")
    if kept.encode() != encoded:
        kept += f".{hashlib.sha256(encoded).hexdigest()[:8]}"
    return f".{kept}."


def clear_leftovers(target: str) -> None:
    """Remove what killed processes left beside `target`, and restore what one of them had moved away.

    Other users' files, files with other names, and files that cannot be removed stay.
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
                with suppress(OSError):  # another process may have put something newer there
                    os.rename(beside(target, "old", token), target)
            _remove(path)
            release(lock)
    for token in old - new:  # killed after both renames
        path = beside(target, "old", token)
        if (lock := _lock_of_dead(path)) is not None:
            _remove(path)
            release(lock)


def lock_file(opened: int) -> int | None:
    """Lock an open file until `release` or the end of this process; return None where locks are not supported."""
    return _lock(os.dup(opened), wait=True)


def lock_folder(folder: str) -> int | None:
    """Lock a folder; see `lock_file`."""
    if sys.platform == "win32":
        return None  # Windows cannot open a folder
    with suppress(OSError):
        return _lock(os.open(folder, os.O_RDONLY), wait=True)
    return None


def take_folder(folder: str) -> int | None:
    """Lock a folder that only one process at a time may fill; return None where locks are not supported.

    Raises
    ------
    BlockingIOError
        If another process holds the lock.
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
    """Release a lock."""
    if lock is not None:
        os.close(lock)


def _lock_of_dead(path: str) -> int | None:
    """Lock a leftover of this user's; return None if a living process holds it, or that cannot be determined."""
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
