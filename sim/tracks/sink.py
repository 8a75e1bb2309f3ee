"""The interface through which a timeline is written, for any file format."""

from __future__ import annotations

from typing import Protocol

from continuum_sim.tracks.spans import Details


class TrackSink(Protocol):
    """A file that takes tracks, spans on them and values over time. Times are whole nanoseconds."""

    def group(self, name: str) -> int:
        """Start a group of tracks, in the order they are added; returns its number."""

    def track(self, name: str, group: int) -> int:
        """Add a track for spans; returns its number."""

    def gauge(self, name: str, unit: str, group: int) -> int:
        """Add a track for values over time; returns its number."""

    def span(self, track: int, name: str, kind: str, start_ns: int, end_ns: int, details: Details) -> None:
        """Add a span. The spans of a track come in order and do not overlap."""

    def value(self, gauge: int, time_ns: int, value: float) -> None:
        """Set the value of a gauge from `time_ns` on."""

    def close(self) -> None:
        """Write everything that is still buffered."""


def nanoseconds(time_s: float) -> int:
    """Convert seconds of simulated time to whole nanoseconds, the resolution of the formats."""
    return round(time_s * 1e9)
