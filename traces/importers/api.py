"""The interface of an importer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program


@dataclass(frozen=True, slots=True)
class Importer:
    """One import format.

    Attributes
    ----------
    name
        Its name for ``--from``.
    title
        A description in a few words.
    source
        Where the format is defined: repository and file.
    patterns
        Patterns of file names to look for in folders.
    sniff
        Returns how sure it is, from the beginning of a file, that this is the format: 0 (it is not) to 1.
    read
        Yields the programs of files of this format, and reports unusable ones to `ImportState.bad`.
    measured, derived, missing
        What the format records, what the importer derives from that, and what is not available.
    """

    name: str
    title: str
    source: str
    patterns: tuple[str, ...]
    sniff: Callable[[Head], float]
    read: Callable[[Iterable[Source], ImportState], Iterator[Program]]
    measured: tuple[str, ...]
    derived: tuple[str, ...]
    missing: tuple[str, ...]
