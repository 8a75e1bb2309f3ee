"""A run as tracks over time: what every program did and the state of the engine; for Perfetto, for the report, and in
the log format of Continuum's own code.
"""

from continuum_sim.tracks.continuum import export_continuum
from continuum_sim.tracks.export import export_timeline
from continuum_sim.tracks.pins import PinSpan, pin_spans
from continuum_sim.tracks.spans import Span, turn_spans

__all__ = ["PinSpan", "Span", "export_continuum", "export_timeline", "pin_spans", "turn_spans"]
