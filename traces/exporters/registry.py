"""Exporters by name."""

from __future__ import annotations

from typing import Final

from continuum_sim.names import Registry
from continuum_sim.traces.errors import TraceError
from continuum_sim.traces.exporters.api import Exporter

EXPORTER_ENTRY_POINTS: Final = "continuum_sim.exporters"
"""Entry-point group of exporters in other packages; each names an `Exporter`."""

EXPORTERS: Final = Registry(
    "format", error=TraceError, kind=Exporter, folder="continuum_sim.traces.exporters", group=EXPORTER_ENTRY_POINTS
)
