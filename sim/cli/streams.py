"""Standard output and standard error as they may be given: closed, full, or of an encoding that holds ASCII alone."""

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
"""What stands for the characters of our tables and sentences; all others are escaped as JSON escapes them."""


def prepare_streams() -> None:
    """Make standard output and standard error fit to be written to."""
    # A closed descriptor would be taken by the next file that is opened, and what is printed would go into it.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            with suppress(OSError):
                os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for as long as the process runs)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    codecs.register_error(_REPLACED, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and codecs.lookup(stream.encoding).name != "utf-8":
            stream.reconfigure(errors=_REPLACED)


def output_error(error: OSError) -> OSError:
    """Return the error to report: one that names standard output, where it is standard output that failed.

    What could not be written is dropped, or Python would try again when it ends.
    """
    try:
        sys.stdout.flush()
        if _is_device():  # where nothing is kept back (PYTHONUNBUFFERED), there is nothing to flush
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
    """Let what is still to be written to standard output go nowhere."""
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
