"""Importers by name, and detection of the one that fits a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from continuum_sim.names import Registry
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.head import Head
from continuum_sim.traces.importers.known import name_known

IMPORTER_ENTRY_POINTS: Final = "continuum_sim.importers"
"""Entry-point group of importers in other packages; each names an `Importer`."""

IMPORTERS: Final = Registry(
    "format",
    error=TraceError,
    kind=Importer,
    folder="continuum_sim.traces.importers",
    group=IMPORTER_ENTRY_POINTS,
)
_SURE_ENOUGH: Final = 0.4
_APART: Final = 0.15
"""If two formats score closer than this, both are named instead of guessing one."""


def importers() -> Mapping[str, Importer]:
    """Return every importer by name: ours, then those of other packages."""
    return IMPORTERS.load()


def find_importer(name: str) -> Importer:
    """Return the importer of that name.

    Raises
    ------
    TraceError
        If there is none; the message has the nearest name and all names.
    """
    return IMPORTERS.find(name)


def detect(head: Head) -> tuple[Importer, float]:
    """Return the importer that fits the beginning of a file, and how sure that is.

    Raises
    ------
    TraceError
        Without a place, if none fits or several fit about as well.
    """
    if head.has("program_id", "turns") or "continuum_trace" in head.top:
        raise TraceError("is a trace of continuum-sim already, expected another format to import")
    ranked = sorted(((one.sniff(head), one) for one in importers().values()), key=lambda pair: -pair[0])
    sure, best = ranked[0]
    if sure < _SURE_ENOUGH and (known := name_known(head)):
        raise TraceError(known)
    if sure < _SURE_ENOUGH:
        raise TraceError("unknown format (`trace import --formats` lists the known ones; --from names one)")
    close = [f"{one.name} ({score:.0%})" for score, one in ranked if score > sure - _APART and score >= _SURE_ENOUGH]
    if len(close) > 1:
        raise TraceError(f"may be {' or '.join(close)}, say which with --from")
    return best, sure
