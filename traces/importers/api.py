"""What an importer is."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.sources import Source
from continuum_sim.traces.importers.state import ImportState
from continuum_sim.traces.schema import Program


@dataclass(frozen=True, slots=True)
class Importer:
    """One format.

    Attributes
    ----------
    name
        What ``--from`` calls it.
    title
        What it is, in a few words.
    source
        Where the format is laid down: repository and file.
    patterns
        Names of files looked for in folders.
    sniff
        From the beginning of a file, how sure it is that this is the format: 0 (it is not) to 1.
    read
        Yields the programs of files of this format. One that cannot be used goes to `ImportState.bad`.
    measured, derived, missing
        What the format records, what the importer works out from that, and what there is not.
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
