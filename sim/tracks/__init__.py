"""A run as tracks over time: for Perfetto, for the report, and in the files of Continuum's own code.

`spans.py` says what every program did, `gauges.py` what the engine was like, and `export.py` writes both. Everything is
read from a run directory, a stretch at a time, so that a long run needs no more memory than a short one.
"""

from continuum_sim.tracks.continuum import export_continuum
from continuum_sim.tracks.export import export_timeline
from continuum_sim.tracks.pins import PinSpan, pin_spans
from continuum_sim.tracks.spans import Span, turn_spans

__all__ = ["PinSpan", "Span", "export_continuum", "export_timeline", "pin_spans", "turn_spans"]
