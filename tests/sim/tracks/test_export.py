"""Timelines for Perfetto, parsed back: they agree with the tables."""

from __future__ import annotations

import gzip
import itertools
import json
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import continuum_sim as cs
from continuum_sim.cli import main
from continuum_sim.results import RunResult

SHORT: dict[str, Any] = {"limit": 12, "max_turns": 8, "arrivals": "poisson:rate=2", "kv_blocks": 1500}
NS = 1e-9


@dataclass
class Parsed:
    """A trace file as its reader sees it; times in seconds."""

    spans: dict[str, list[tuple[str, str, float, float, dict[str, Any]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Track -> (name, kind, start, end, details)."""
    values: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    """Counter -> (time, value)."""
    order: list[str] = field(default_factory=list)
    """Names of the tracks of programs, as they are shown."""

    def of(self, kind: str) -> list[tuple[str, float, dict[str, Any]]]:
        return [
            (track, end - start, details)
            for track, spans in self.spans.items()
            for _, of_kind, start, end, details in spans
            if of_kind == kind
        ]


def parse_protobuf(data: bytes) -> Parsed:
    pytest.importorskip("perfetto", reason="parsing a trace back needs the package perfetto")
    from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

    parsed, names, parents, ranks, open_spans = Parsed(), {}, {}, {}, {}
    for packet in Trace.FromString(data).packet:
        assert packet.trusted_packet_sequence_id == 1
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            names[track.uuid], parents[track.uuid] = track.name, track.parent_uuid
            ranks[track.uuid] = track.sibling_order_rank
        if not packet.HasField("track_event"):
            continue
        event, at_s = packet.track_event, packet.timestamp / 1e9
        name = names[event.track_uuid]
        if event.type == TrackEvent.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in open_spans, "the spans of a track do not overlap"
            details = {note.name: getattr(note, str(note.WhichOneof("value"))) for note in event.debug_annotations}
            open_spans[event.track_uuid] = (event.name, event.categories[0], at_s, details)
        elif event.type == TrackEvent.TYPE_SLICE_END:
            label, kind, start_s, details = open_spans.pop(event.track_uuid)
            parsed.spans[name].append((label, kind, start_s, at_s, details))
        else:
            parsed.values[name].append((at_s, getattr(event, str(event.WhichOneof("counter_value_field")))))
    assert not open_spans
    (programs,) = [uuid for uuid, name in names.items() if name == "programs"]
    members = [uuid for uuid, parent in parents.items() if parent == programs]
    parsed.order = [names[uuid] for uuid in sorted(members, key=ranks.__getitem__)]
    return parsed


def parse_json(data: bytes) -> Parsed:
    parsed, names = Parsed(), {}
    for event in json.loads(data):
        if event["ph"] == "M" and event["name"] == "thread_name":
            names[event["pid"], event["tid"]] = event["args"]["name"]
            parsed.order.append(event["args"]["name"])
        elif event["ph"] == "X":
            start_s = event["ts"] / 1e6
            span = (event["name"], event["cat"], start_s, start_s + event["dur"] / 1e6, event["args"])
            parsed.spans[names[event["pid"], event["tid"]]].append(span)
        elif event["ph"] == "C":
            parsed.values[event["name"].rpartition(" (")[0]].append((event["ts"] / 1e6, event["args"]["value"]))
    return parsed


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "ttl"
    cs.run(policy="ttl", **SHORT, out=out, decisions=True)
    return out


@pytest.fixture(scope="module")
def run(directory: Path) -> RunResult:
    return cs.load_run(directory)


@pytest.fixture(scope="module", params=["t.pftrace", "t.pftrace.gz", "t.json", "t.json.gz"])
def parsed(request: pytest.FixtureRequest, directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Parsed:
    path = tmp_path_factory.mktemp("traces") / str(request.param)
    if "json" not in path.name:
        pytest.importorskip("perfetto", reason="this format needs the package perfetto")
    cs.export_timeline(directory, path)
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return parse_json(data) if "json" in path.name else parse_protobuf(data)


def test_every_program_has_a_track_in_order_of_arrival(parsed: Parsed, run: RunResult) -> None:
    expected = run.programs.sort_values(["arrival_s", "program"])["program"]
    assert parsed.order == [name for program in expected for name in (program, f"{program} (pins)")]


@pytest.mark.parametrize(
    ("kind", "start", "end"),
    [
        ("queued", "arrival_s", "scheduled_s"),
        ("prefill", "scheduled_s", "first_token_s"),
        ("decode", "first_token_s", "finish_s"),
        ("tool", None, None),
    ],
)
def test_spans_are_those_of_the_tables(
    parsed: Parsed, run: RunResult, kind: str, start: str | None, end: str | None
) -> None:
    found = parsed.of(kind)
    turns = run.turns
    lasting = turns["tool_s"] if start is None else turns[end] - turns[start]
    assert len(found) == (lasting > 0).sum() > 0
    for program, total_s in lasting.groupby(turns["program"]).sum().items():
        seconds = sum(lasted for track, lasted, _ in found if track == program)
        assert seconds == pytest.approx(total_s, abs=2 * NS * len(turns))


def test_spans_tell_what_they_are(parsed: Parsed, run: RunResult) -> None:
    prefills = parsed.of("prefill")
    for name in ("prompt_tokens", "cached_tokens", "recomputed_tokens", "preemptions"):
        assert sum(details[name] for _, _, details in prefills) == run.turns[name].sum()
    assert sum(details["output_tokens"] for _, _, details in parsed.of("decode")) <= run.turns["output_tokens"].sum()
    tools = {span[0] for spans in parsed.spans.values() for span in spans if span[1] == "tool"}
    assert tools == {f"tool: {tool}" for tool in run.turns.loc[run.turns["tool_s"] > 0, "tool"]}


def test_spans_of_a_track_follow_each_other(parsed: Parsed) -> None:
    for spans in parsed.spans.values():
        for before, after in itertools.pairwise(spans):
            assert before[3] <= after[2] + NS


def test_pins_are_those_of_the_summary(parsed: Parsed, run: RunResult) -> None:
    pins = parsed.of("pinned")
    ends = [details["end"] for _, _, details in pins]
    counts = run.summary.pins
    assert len(pins) == counts.made > 0
    assert [ends.count(end) for end in ("hit", "expired", "broken")] == [counts.hit, counts.expired, counts.broken]
    assert {track for track, _, _ in pins} <= set(parsed.order[1::2])


def test_gauges_are_those_of_the_timeline(parsed: Parsed, run: RunResult) -> None:
    timeline = run.timeline
    for gauge, column in (
        ("batch size", "running"),
        ("queue length", "waiting"),
        ("prefill tokens a step", "prefill_tokens"),
    ):
        times, values = np.array(parsed.values[gauge]).T
        area = float((values[:-1] * np.diff(times)).sum())
        lasting = timeline["end_s"] - timeline["start_s"]
        assert area == pytest.approx(float((timeline[column] * lasting).sum()), rel=1e-6)
        assert values[-1] == 0, "in the end the engine is empty"
    usable = run.summary.kv.blocks - 1
    states = {name: np.array(parsed.values[name]) for name in ("KV running", "KV pinned", "KV cached", "KV empty")}
    ends = timeline["end_s"].to_numpy()
    at_end = {name: _at(readings, ends) for name, readings in states.items()}
    assert (sum(at_end.values()) == usable).all()
    assert (at_end["KV pinned"] == timeline["pinned_blocks"]).all()
    assert (at_end["KV cached"] == timeline["cached_blocks"]).all()
    assert (at_end["KV running"] == usable - timeline["free_blocks"] - timeline["pinned_blocks"]).all()


def _at(readings: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Values of a gauge just after these times."""
    return readings[np.searchsorted(readings[:, 0], times + NS, side="right") - 1, 1]


def test_every_engine_of_a_cluster_has_its_counters(tmp_path: Path) -> None:
    cs.run(policy="ttl", **SHORT, replicas=2, router="round-robin", out=tmp_path / "run", decisions=True)
    run = cs.load_run(tmp_path / "run")
    cs.export_timeline(tmp_path / "run", tmp_path / "t.json")
    events = json.loads((tmp_path / "t.json").read_bytes())
    groups = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
    lasting = run.timeline["end_s"] - run.timeline["start_s"]
    assert isinstance(run.summary.replicas, list)
    for part in run.summary.replicas:
        (group,) = [pid for pid, name in groups.items() if name == f"replica {part.replica} ({part.gpu})"]
        readings = [
            (event["ts"] / 1e6, event["args"]["value"])
            for event in events
            if event["ph"] == "C" and event["pid"] == group and event["name"] == "batch size (turns)"
        ]
        times, values = np.array(readings).T
        here = run.timeline["replica"] == part.replica
        assert float((values[:-1] * np.diff(times)).sum()) == pytest.approx(
            float((run.timeline["running"] * lasting)[here].sum()), rel=1e-6
        )
    ends = [event["args"]["end"] for event in events if event.get("cat") == "pinned"]
    assert ends.count("moved") == sum(part.pins_moved for part in run.summary.replicas) > 0
    prefills = [event["args"]["replica"] for event in events if event.get("cat") == "prefill"]
    assert prefills.count(1) == (run.turns["replica"] == 1).sum()


def test_waits_for_tool_workers_are_those_of_the_programs(tmp_path: Path) -> None:
    cs.run(policy="ttl", **SHORT, tool_workers=1, out=tmp_path / "run")
    programs = cs.load_run(tmp_path / "run").programs.set_index("program")
    cs.export_timeline(tmp_path / "run", tmp_path / "t.json")
    waits = parse_json((tmp_path / "t.json").read_bytes()).of("waiting")
    assert programs["tool_wait_s"].sum() > 1
    for program, waited_s in (programs["tool_wait_s"] + programs["join_s"]).items():
        assert sum(lasted for track, lasted, _ in waits if track == program) == pytest.approx(waited_s, abs=1e-6)


def test_a_run_without_a_decision_log_has_no_pins_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cs.run(policy="ttl", **SHORT, out=tmp_path / "run")
    with pytest.raises(SystemExit) as exited:
        main(["timeline", str(tmp_path / "run"), "--perfetto", str(tmp_path / "t.json")])
    assert exited.value.code == 0
    assert "no pins: the run has no decisions.jsonl (see --decisions)" in " ".join(capsys.readouterr().err.split())
    parsed = parse_json((tmp_path / "t.json").read_bytes())
    assert parsed.of("pinned") == []
    assert len(parsed.order) == 12


@pytest.mark.parametrize("name", ["t.pftrace", "t.json.gz"])
def test_the_same_run_gives_the_same_bytes(directory: Path, tmp_path: Path, name: str) -> None:
    if "json" not in name:
        pytest.importorskip("perfetto", reason="this format needs the package perfetto")
    written = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        done = cs.export_timeline(directory, tmp_path / folder / name)
        written.append(done.path.read_bytes())
        assert done.bytes == len(written[-1])
    assert written[0] == written[1]


@pytest.mark.parametrize(
    ("lacking", "message"), [("summary.json", "not a run directory"), ("turns.parquet", "has no turns")]
)
def test_what_is_no_run_is_refused_and_nothing_is_left(
    directory: Path, tmp_path: Path, lacking: str, message: str
) -> None:
    cs.load_run(directory).save(tmp_path / "run")
    for path in directory.iterdir():
        (tmp_path / "run" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "run" / lacking).unlink()
    with pytest.raises(cs.ConfigError, match=message):
        cs.export_timeline(tmp_path / "run", tmp_path / "t.json")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_without_the_package_the_remedy_is_named(directory: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['perfetto'] = None\n"
        f"from continuum_sim.cli import main; main(['timeline', {str(directory)!r}, '--perfetto', sys.argv[1]])"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "t.pftrace")], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: this format needs the package perfetto")
    assert ".json" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_replica_has_gauges_of_its_own(tmp_path: Path) -> None:
    run = cs.run(**SHORT, replicas=2, router="round-robin", policy="ttl", out=tmp_path / "run", decisions=True)
    cs.export_timeline(tmp_path / "run", tmp_path / "run.json")
    parsed = parse_json((tmp_path / "run.json").read_bytes())
    assert len(parsed.of("pinned")) == run.summary.pins.made
    events = json.loads((tmp_path / "run.json").read_text())
    groups = {event["args"]["name"] for event in events if event["name"] == "process_name"}
    assert {"replica 0 (A100-80)", "replica 1 (A100-80)"} <= groups
    moved = [details for _, _, details in parsed.of("pinned") if details["end"] == "moved"]
    assert len(moved) == sum(part.pins_moved for part in run.summary.replicas or []) > 0


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file() -> None:
    """Protobuf messages keep their memory; 200,000 packets would take hundreds of MB."""
    pytest.importorskip("perfetto", reason="this format needs the package perfetto")
    code = """
import resource
from continuum_sim.tracks.perfetto_sink import PerfettoSink
with open("/dev/null", "wb") as file:
    sink = PerfettoSink(file)
    track = sink.track("a", sink.group("g"))
    def write(spans):
        for i in range(spans):
            sink.span(track, "decode", "decode", i, i + 1, {"turn": i, "output_tokens": 5})
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(-write(5_000) + write(100_000))
"""
    grown_kib = int(subprocess.check_output([sys.executable, "-c", code], text=True))
    assert grown_kib < 20_000
