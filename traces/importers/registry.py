"""Importers by name, and which of them fits a file."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import Final

from continuum_sim.traces.errors import TraceError, nearest, shown
from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.head import Head

IMPORTER_ENTRY_POINTS: Final = "continuum_sim.importers"
"""Entry point group of importers in other packages; each names an `Importer`."""

_OURS: Final = (
    ("mini_swe_agent", "MINI_SWE_AGENT"),
    ("mini_swe_agent", "MINI_SWE_AGENT_V1"),
    ("swe_agent", "SWE_AGENT"),
    ("openhands", "OPENHANDS"),
    ("claude_code", "CLAUDE_CODE"),
    ("tracelab", "TRACELAB"),
    ("weka", "WEKA"),
    ("mooncake", "MOONCAKE"),
    ("aiperf", "AIPERF"),
    ("bfcl", "BFCL"),
    ("otel", "OTEL"),
    ("openai_log", "OPENAI_LOG"),
    ("vllm_log", "VLLM_LOG"),
)
_SURE_ENOUGH: Final = 0.4
_APART: Final = 0.15
"""Two formats closer than this are both named rather than one guessed."""


@cache
def importers() -> Mapping[str, Importer]:
    """Return every importer by name: ours, then those of other packages.

    Raises
    ------
    TraceError
        If an importer of another package cannot be loaded or takes a name that there is.
    """
    found: dict[str, Importer] = {}
    for module, name in _OURS:
        importer: Importer = getattr(import_module(f"continuum_sim.traces.importers.{module}"), name)
        found[importer.name] = importer
    for point in entry_points(group=IMPORTER_ENTRY_POINTS):
        try:
            importer = point.load()
        except Exception as error:
            raise TraceError(f"importer {point.name!r} cannot be loaded ({point.value}): {error}") from None
        if not isinstance(importer, Importer):
            raise TraceError(f"importer {point.name!r} ({point.value}) is no Importer")
        if importer.name in found:
            raise TraceError(
                f"importer {point.name!r} ({point.value}) takes the name {importer.name!r}, which is taken"
            )
        found[importer.name] = importer
    return found


def find_importer(name: str) -> Importer:
    """Return the importer of that name.

    Raises
    ------
    TraceError
        If there is none, with the nearest name and all of them.
    """
    known = importers()
    if name not in known:
        guess = nearest(name, known) or ","
        raise TraceError(f"unknown format {shown(name)}{guess} formats: {', '.join(known)}")
    return known[name]


def detect(head: Head) -> tuple[Importer, float]:
    """Return the importer that fits the beginning of a file, and how sure it is.

    Raises
    ------
    TraceError
        Without a place, if none fits or several fit about as well.
    """
    if head.has("program_id", "turns") or "continuum_trace" in head.top:
        raise TraceError("is a trace of continuum-sim already, expected another format to import")
    ranked = sorted(((one.sniff(head), one) for one in importers().values()), key=lambda pair: -pair[0])
    sure, best = ranked[0]
    if sure < _SURE_ENOUGH:
        raise TraceError(f"of no format known here, say which with --from: {', '.join(importers())}")
    close = [f"{one.name} ({score:.0%})" for score, one in ranked if score > sure - _APART and score >= _SURE_ENOUGH]
    if len(close) > 1:
        raise TraceError(f"may be {' or '.join(close)}, say which with --from")
    return best, sure
