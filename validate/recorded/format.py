"""The interface of a format that `backtest` reads, and the registry of those there are."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from continuum_sim.errors import ConfigError
from continuum_sim.names import Registry
from continuum_sim.validate.recorded.log import RecordedLog

RECORDING_ENTRY_POINTS: Final = "continuum_sim.recordings"
"""Entry-point group of formats in other packages; each names a `RecordedFormat`."""


@dataclass(frozen=True, slots=True)
class RecordedFormat:
    """One format of recordings.

    Attributes
    ----------
    name
        Its name for ``--format``.
    marks
        Fields, or columns, that tell it from others: of a line, of the whole file if that is one object, or of the
        first object of an array. More than half of them suffice, because a missing one is the reader's to report.
    read
        Reads and checks a file; raises a `TraceError` that names line and field.
    """

    name: str
    marks: frozenset[str]
    read: Callable[[Path], RecordedLog]

    def likeness(self, found: Set[str]) -> int:
        """Return how many marks are among the fields found, 0 if too few; of several formats, the most decide."""
        seen = len(found & self.marks)
        return seen if seen > len(self.marks) // 2 else 0


FORMATS: Final = Registry(
    "format",
    error=ConfigError,
    kind=RecordedFormat,
    folder="continuum_sim.validate.recorded.formats",
    group=RECORDING_ENTRY_POINTS,
)
"""Formats by name; `FORMATS.load()` finds them."""
