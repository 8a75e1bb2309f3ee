"""Exporters: traces in the formats of other tools, so that they can replay what was simulated here.

One file per format, each an `Exporter`; another package adds one by an entry point of the group
``continuum_sim.exporters``.

What a format has no field for is written beside its own fields, so that `import_trace` restores the same trace.
"""

from continuum_sim.traces.exporters.api import Exporter
from continuum_sim.traces.exporters.registry import EXPORTERS
from continuum_sim.traces.exporters.run import export_trace

__all__ = ["EXPORTERS", "Exporter", "export_trace"]
