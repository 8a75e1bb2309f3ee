"""Perfetto's own format: a protobuf `Trace` of track events, written incrementally."""

from __future__ import annotations

from typing import Any, BinaryIO, Final

from continuum_sim.errors import ConfigError
from continuum_sim.tracks.spans import Details

_PACKETS: Final = 1000
"""Packets buffered before they are written. To protobuf, consecutive traces in a file are one trace."""
_SEQUENCE: Final = 1
"""Sequence of all packets, since there is a single writer."""


class PerfettoSink:
    """Writes the messages of `perfetto_trace.proto` (Apache-2.0, github.com/google/perfetto).

    Raises
    ------
    ConfigError
        If the package `perfetto`, which defines the messages, is not installed.
    """

    def __init__(self, file: BinaryIO) -> None:
        try:
            from perfetto.protos.perfetto.trace import perfetto_trace_pb2 as proto
        except ImportError:
            raise ConfigError(
                "this format needs the package perfetto: pip install 'continuum-sim[perfetto]', "
                "or give a name that ends in .json or .json.gz"
            ) from None
        self._file = file
        self._event = proto.TrackEvent
        self._explicit = proto.TrackDescriptor.EXPLICIT
        self._new_trace = proto.Trace
        self._trace = proto.Trace()
        self._tracks = 0
        self._members: dict[int, int] = {}
        first = self._packet()
        first.sequence_flags = proto.TracePacket.SEQ_INCREMENTAL_STATE_CLEARED

    def group(self, name: str) -> int:
        """Start a group of tracks."""
        number = self._descriptor(name, None)
        self._trace.packet[-1].track_descriptor.child_ordering = self._explicit
        return number

    def track(self, name: str, group: int) -> int:
        """Add a track for spans."""
        return self._descriptor(name, group)

    def gauge(self, name: str, unit: str, group: int) -> int:
        """Add a counter track."""
        number = self._descriptor(name, group)
        self._trace.packet[-1].track_descriptor.counter.unit_name = unit
        return number

    def span(self, track: int, name: str, kind: str, start_ns: int, end_ns: int, details: Details) -> None:
        """Add the beginning and the end of a slice."""
        packet = self._packet()
        packet.timestamp = start_ns
        event = packet.track_event
        event.type = self._event.TYPE_SLICE_BEGIN
        event.track_uuid = track
        event.name = name
        event.categories.append(kind)
        for key, value in details.items():
            note = event.debug_annotations.add()
            note.name = key
            if isinstance(value, int):
                note.int_value = value
            elif isinstance(value, float):
                note.double_value = value
            else:
                note.string_value = value
        packet = self._packet()
        packet.timestamp = end_ns
        packet.track_event.type = self._event.TYPE_SLICE_END
        packet.track_event.track_uuid = track

    def value(self, gauge: int, time_ns: int, value: float) -> None:
        """Add a value of a counter."""
        packet = self._packet()
        packet.timestamp = time_ns
        event = packet.track_event
        event.type = self._event.TYPE_COUNTER
        event.track_uuid = gauge
        if isinstance(value, int):
            event.counter_value = value
        else:
            event.double_counter_value = value

    def close(self) -> None:
        """Write the remaining packets."""
        self._file.write(self._trace.SerializeToString())
        self._trace = self._new_trace()  # clearing the old one would not free its memory

    def _descriptor(self, name: str, group: int | None) -> int:
        self._tracks += 1
        descriptor = self._packet().track_descriptor
        descriptor.uuid = self._tracks
        descriptor.name = name
        if group is not None:
            descriptor.parent_uuid = group
            rank = self._members.get(group, 0)
            descriptor.sibling_order_rank = rank
            self._members[group] = rank + 1
        return self._tracks

    def _packet(self) -> Any:
        if len(self._trace.packet) >= _PACKETS:
            self.close()
        packet = self._trace.packet.add()
        packet.trusted_packet_sequence_id = _SEQUENCE
        return packet
