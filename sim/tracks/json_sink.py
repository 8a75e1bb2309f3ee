"""Chrome's trace events as JSON, one event per line: needs no package, opens in Perfetto and chrome://tracing.

The fields are those of the "Trace Event Format" (Chromium project): `X` complete events, `C` counters, `M` metadata;
`ts` and `dur` in microseconds.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import msgspec

from continuum_sim.tracks.spans import Details


class JsonSink:
    """Writes an array of events; a group becomes a process, and a track a thread of it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._encode = msgspec.json.Encoder().encode
        self._between = b"[\n"
        self._groups = 0
        self._tracks: list[tuple[int, str]] = []
        """Group and name of every track, by number."""

    def group(self, name: str) -> int:
        """Start a process."""
        self._groups += 1
        self._describe("process_name", self._groups, 0, name=name)
        self._describe("process_sort_index", self._groups, 0, sort_index=self._groups)
        return self._groups

    def track(self, name: str, group: int) -> int:
        """Start a thread of a process."""
        number = len(self._tracks)
        self._tracks.append((group, name))
        self._describe("thread_name", group, number, name=name)
        self._describe("thread_sort_index", group, number, sort_index=number)
        return number

    def gauge(self, name: str, unit: str, group: int) -> int:
        """Add a counter, which is identified by its name alone."""
        self._tracks.append((group, f"{name} ({unit})"))
        return len(self._tracks) - 1

    def span(self, track: int, name: str, kind: str, start_ns: int, end_ns: int, details: Details) -> None:
        """Add a complete event."""
        group, _ = self._tracks[track]
        self._write(
            {
                "ph": "X",
                "name": name,
                "cat": kind,
                "pid": group,
                "tid": track,
                "ts": start_ns / 1000,
                "dur": (end_ns - start_ns) / 1000,
                "args": details,
            }
        )

    def value(self, gauge: int, time_ns: int, value: float) -> None:
        """Add a value of a counter."""
        group, name = self._tracks[gauge]
        self._write({"ph": "C", "name": name, "pid": group, "ts": time_ns / 1000, "args": {"value": value}})

    def close(self) -> None:
        """Close the array."""
        self._file.write(self._between.rstrip(b",\n") + b"\n]\n")

    def _describe(self, what: str, group: int, track: int, **args: Any) -> None:
        self._write({"ph": "M", "name": what, "pid": group, "tid": track, "args": args})

    def _write(self, event: dict[str, Any]) -> None:
        self._file.write(self._between + self._encode(event))
        self._between = b",\n"
