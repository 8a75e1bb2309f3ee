"""Importers: traces from the logs of agents and the formats of other tools.

One file per format, each an `Importer`. Another one is a new file here, or in another package an entry point of the
group ``continuum_sim.importers``. What each measures, derives and lacks goes into the
header of the trace. The formats: ``docs/import.md``.
"""

from continuum_sim.traces.importers.api import Importer
from continuum_sim.traces.importers.registry import detect, find_importer, importers
from continuum_sim.traces.importers.run import Imported, import_trace

__all__ = ["Imported", "Importer", "detect", "find_importer", "import_trace", "importers"]
