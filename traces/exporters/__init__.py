"""Exporters: traces in the formats of other tools, for them to replay what was simulated here.

What a format has no field for is written beside its own fields, so that `import_trace` gives the same trace back.
"""

from continuum_sim.traces.exporters.run import EXPORT_FORMATS, export_trace

__all__ = ["EXPORT_FORMATS", "export_trace"]
