"""The trace layer's only error, and helpers for its messages."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable

from continuum_sim.names import nearest as nearest_name
from continuum_sim.names import shown as shown_as
from continuum_sim.traces.printable import printable


class TraceError(ValueError):
    """A trace that cannot be used. The message is one line: where, what is there, what was expected.

    Parameters
    ----------
    detail
        What is wrong and what was expected, e.g. ``turns[3].output_tokens is 0, expected ...``.
    path, line
        The file and the line in it (counted from 1), where known.
    program_id
        The program at fault, if it does not come from a file (generated or built by hand).
    """

    def __init__(
        self,
        detail: str,
        *,
        path: str | os.PathLike[str] | None = None,
        line: int | None = None,
        program_id: object = None,
    ) -> None:
        self.detail = detail
        self.path = None if path is None else os.fspath(path)
        self.line = line
        self.program_id = program_id
        super().__init__(printable(f"{self._place()}{detail}"))  # names come from files

    def _place(self) -> str:
        if self.path is not None:
            return f"{self.path}: " if self.line is None else f"{self.path}:{self.line}: "
        return "" if self.program_id is None else f"program {shown(self.program_id)}: "


def shown(value: object) -> str:
    """Return ``value`` as JSON would write it, shortened to fit an error message."""
    if isinstance(value, list | tuple):
        return "an array"
    if isinstance(value, dict):
        return "an object"
    if value is None or isinstance(value, bool | int | float | str):
        return shown_as(value, lambda plain: json.dumps(plain, ensure_ascii=False))
    return f"a {type(value).__name__}"


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``, did you mean "…"?`` for the known name closest to ``name``, or nothing if none is close."""
    close = nearest_name(name, known)
    return "" if close is None else f", did you mean {shown(close)}?"
