"""Keep everything an engine prints in a file, and find its last words when it dies."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_ERROR: Final = re.compile(r"(?:^|\s)((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Killed)): (.+)")
_WRAPPERS: Final = ("Engine core initialization failed", "EngineCore encountered", "Exception in ")
"""Errors that only report an earlier one."""


@contextmanager
def printed_to(path: Path) -> Iterator[None]:
    """Append to a file what this process, and any process it starts meanwhile, prints.

    Redirects file descriptors: an engine's processes inherit them and keep the file for as long as they live.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, descriptor in zip((1, 2), kept, strict=True):
            os.dup2(descriptor, number)
            os.close(descriptor)


def last_words(path: Path) -> str:
    """Return the error in an engine's log that caused the others, in one line; empty if there is none.

    An engine that fails prints a traceback in the process at fault, then one in every process that waited for it, so
    the first error is the cause.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    for line in text.splitlines():
        found = _ERROR.search(line)
        if found and not found[2].startswith(_WRAPPERS):
            return f"{found[1].rpartition('.')[2]}: {' '.join(found[2].split())[:400]}"
    return ""
