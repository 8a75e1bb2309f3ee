"""Export a run directory as one trace file that Perfetto and chrome://tracing open."""

from __future__ import annotations

import gzip
import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

import msgspec

from continuum_sim.errors import ConfigError
from continuum_sim.results.result import RunResult, load_run
from continuum_sim.results.summary import Summary
from continuum_sim.traces.files import whole_file
from continuum_sim.tracks.gauges import GAUGES, EngineGauges, Reading
from continuum_sim.tracks.json_sink import JsonSink
from continuum_sim.tracks.perfetto_sink import PerfettoSink
from continuum_sim.tracks.pins import PinSpan, pin_spans
from continuum_sim.tracks.rundir import (
    OnShare,
    TableRows,
    decisions_of,
    has_decisions,
    outlasts_admission,
)
from continuum_sim.tracks.sink import TrackSink, nanoseconds
from continuum_sim.tracks.spans import Waits, turn_spans


class ExportedTimeline(NamedTuple):
    """Contents of a trace file."""

    path: Path
    programs: int
    spans: int
    pins: int | None
    """Number of pins; None if the run has no decision log, the only source of pins."""
    bytes: int


def export_timeline(
    run: str | PathLike[str], path: str | PathLike[str], *, progress: OnShare | None = None
) -> ExportedTimeline:
    """Write what every program did and the engine's state over time, for Perfetto.

    Each program has a track for its spans (queued, prefill, decode, tool) and one below it for its pins; counters show
    batch, queue and KV blocks by state, separately for each replica. Times are those of the run, in whole nanoseconds.
    Memory does not grow with the number of turns.

    Parameters
    ----------
    run
        A run directory. Pins are included if it was written with the decision log.
    path
        File to write: Chrome's JSON trace events if the name ends in `.json`, otherwise Perfetto's protobuf; either is
        compressed if the name ends in `.gz`. The file appears once complete.

    Raises
    ------
    ConfigError
        If `run` is not a run directory or lacks a table, or the package `perfetto` is needed and not installed.
    OSError
        If the file cannot be written.
    """
    directory, target = Path(run), Path(path)
    result = load_run(directory)
    logged = has_decisions(directory)
    tables = TableRows(result, directory, ("turns", "timeline"), progress)
    with _file(target) as file:
        sink: TrackSink = JsonSink(file) if target.name.removesuffix(".gz").endswith(".json") else PerfettoSink(file)
        programs = _program_tracks(sink, result, pins=logged)
        spans, waits = 0, Waits()
        for row in tables.of("turns"):
            for span in (*waits.before(row), *turn_spans(row)):
                name = f"tool: {span.details['tool']}" if span.kind == "tool" and span.details["tool"] else span.kind
                start_ns, end_ns = nanoseconds(span.start_s), nanoseconds(span.end_s)
                track, _ = _tracks_of(span.program, programs, directory)
                sink.span(track, name, span.kind, start_ns, end_ns, span.details)
                spans += 1
        pins = 0
        if logged:
            outlasts = outlasts_admission(result)
            for pin in pin_spans(decisions_of(directory), outlasts_admission=outlasts):
                _write_pin(sink, _tracks_of(pin.program, programs, directory)[1], pin)
                pins += 1
        engines = [_EngineTracks(sink, *engine) for engine in engines_of(result.summary)]
        for row in tables.of("timeline"):
            engines[row.get("replica", 0)].row(row)
        for engine in engines:
            engine.end()
        sink.close()
    return ExportedTimeline(target, len(programs), spans, pins if logged else None, target.stat().st_size)


def engines_of(summary: Summary) -> list[tuple[str, int]]:
    """Return the name and usable blocks of every engine, without vLLM's null block."""
    if isinstance(summary.replicas, msgspec.UnsetType):
        return [("engine", summary.kv.blocks - 1)]
    return [(f"replica {part.replica} ({part.gpu})", part.blocks - 1) for part in summary.replicas]


class _EngineTracks:
    """The counters of one engine."""

    def __init__(self, sink: TrackSink, name: str, usable_blocks: int) -> None:
        group = sink.group(name)
        self._sink = sink
        self._tracks = {gauge: sink.gauge(gauge, unit, group) for gauge, unit in GAUGES.items()}
        self._gauges = EngineGauges(usable_blocks)
        self._write(self._gauges.start())

    def row(self, row: Mapping[str, Any]) -> None:
        self._write(self._gauges.row(row))

    def end(self) -> None:
        self._write(self._gauges.end())

    def _write(self, readings: Iterable[Reading]) -> None:
        for reading in readings:
            self._sink.value(self._tracks[reading.gauge], nanoseconds(reading.time_s), reading.value)


def _program_tracks(sink: TrackSink, run: RunResult, *, pins: bool) -> dict[str, tuple[int, int]]:
    """Add the tracks of every program, for spans and pins, in order of arrival."""
    columns = run.table("programs").select(["program", "arrival_s"]).to_pydict()
    arrivals = sorted(zip(columns["arrival_s"], columns["program"], strict=True))
    group = sink.group("programs")
    tracks = {}
    for _, program in arrivals:
        spans = sink.track(program, group)
        tracks[program] = (spans, sink.track(f"{program} (pins)", group) if pins else spans)
    return tracks


def _tracks_of(program: str, tracks: Mapping[str, tuple[int, int]], directory: Path) -> tuple[int, int]:
    try:
        return tracks[program]
    except KeyError:
        raise ConfigError(
            f"{directory}: program {program!r} is not in programs.parquet: its files are not of one run"
        ) from None


def _write_pin(sink: TrackSink, track: int, pin: PinSpan) -> None:
    ttl: float | str = pin.ttl_s if math.isfinite(pin.ttl_s) else "infinite"
    details = {"turn": pin.turn, "ttl_s": ttl, "end": pin.end}
    sink.span(track, "pinned", "pinned", nanoseconds(pin.start_s), nanoseconds(pin.end_s), details)


@contextmanager
def _file(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name once the block succeeds."""
    with whole_file(path) as plain:
        if path.suffix == ".gz":
            # Written without name and time, so that the same run gives the same bytes.
            with gzip.GzipFile("", "wb", fileobj=plain, mtime=0) as packed:
                yield cast(BinaryIO, packed)
        else:
            yield plain
