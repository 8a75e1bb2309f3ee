"""Robust standard output and standard error, which may be closed, full, or limited to ASCII by their encoding."""

from __future__ import annotations

import codecs
import io
import os
import stat
import sys
from contextlib import suppress
from typing import Final

_REPLACED: Final = "continuum-sim-replace"
_LOOKALIKES: Final = {
    "█": "#",
    "▓": "%",
    "▒": "=",
    "░": "-",
    "─": "-",
    "━": "-",
    "│": "|",
    "╭": "+",
    "╮": "+",
    "╰": "+",
    "╯": "+",
    "×": "x",
    "·": ".",
    "…": "...",
    "–": "-",
    "→": "->",
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "\u00a0": " ",
}
"""ASCII replacements for characters of our tables and sentences; all others are escaped as in JSON."""


def prepare_streams() -> None:
    """Make standard output and standard error safe to write to."""
    # The next file opened would take over a closed descriptor, and output would go into that file.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (open for the life of the process)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    codecs.register_error(_REPLACED, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors=_REPLACED)


def output_error(error: OSError) -> OSError:
    """Return the error to report: one that names standard output, if that is what failed.

    Output that could not be written is dropped; otherwise Python would try again at exit.
    """
    try:
        sys.stdout.flush()
        if _is_device():  # unbuffered output (PYTHONUNBUFFERED) has nothing to flush
            os.write(sys.stdout.fileno(), b"\n")
    except OSError as again:
        drop_output()
        if again.errno == error.errno:
            return OSError(error.errno, error.strerror, "standard output")
    return error


def _is_device() -> bool:
    try:
        number = sys.stdout.fileno()
        return stat.S_ISCHR(os.fstat(number).st_mode) and not os.isatty(number)
    except (OSError, ValueError):
        return False  # a test's stand-in


def drop_output() -> None:
    """Discard everything that is still to be written to standard output."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(_LOOKALIKES.get(char) or _escaped(char) for char in found), error.end


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
