"""Inspect logs, as JSON and as an archive of samples: which calls are turns, sub-agents, counts kept apart."""

from __future__ import annotations

import contextlib
import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard

from continuum_sim.traces import Child, Program, TraceError, Turn, import_trace, read_programs
from support.session_logs import inspect_ai, inspect_call, inspect_event, inspect_header, inspect_samples

Imported = Callable[..., list[Program]]


def archive(samples: list[dict[str, Any]], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return the samples as an ``.eval`` file of Inspect."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", method) as found:
        found.writestr("_journal/start.json", json.dumps({**inspect_header()}))
        for sample in samples:
            found.writestr(f"samples/{sample['id']}_epoch_{sample['epoch']}.json", json.dumps(sample))
        found.writestr("summaries.json", "[]")
        found.writestr("header.json", json.dumps(inspect_header()))
    return packed.getvalue()


def log(*events: dict[str, Any], **sample: Any) -> bytes:
    whole = {"id": 7, "epoch": 1, "input": "", "events": list(events), **sample}
    return json.dumps({**inspect_header(), "samples": [whole]}).encode()


def test_inspect(imported: Imported) -> None:
    first, second = imported("inspect-ai")
    (child,) = first.children
    assert first.program_id == "q-1-1"
    assert [(t.input_tokens, t.kept_tokens, t.output_tokens, t.tool) for t in first.turns] == [
        (2000, 0, 90, "bash"),
        (2200, 2090, 60, "researcher"),
        (2500, 2260, 40, "client"),
        # Compacted, although it is long enough for everything: what the cache supplied.
        (2600, 640, 20, None),
    ]
    # The second gap contains the sub-agent and nothing else.
    assert [t.tool_s for t in first.turns] == pytest.approx([2.75, 0.0, 1.0, 0.0])
    assert (child.after_turn, child.join_turn) == (1, 2)
    assert [(t.input_tokens, t.kept_tokens, t.tool) for t in child.program.turns] == [(400, 0, "web"), (480, 430, None)]
    # 20 + 3000 written to the cache; 40 + 100 of reasoning.
    assert second == Program("q-1-2", (Turn(3020, 0, 140),), pytest.approx(100.0))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA])
def test_the_archive_gives_the_same(tmp_path: Path, imported: Imported, method: int) -> None:
    (tmp_path / "log.eval").write_bytes(archive(inspect_samples(), method))
    made = import_trace([tmp_path / "log.eval"], tmp_path / "o.jsonl")
    assert (made.format, list(read_programs(tmp_path / "o.jsonl"))) == ("inspect-ai", imported("inspect-ai"))


def test_an_archive_compressed_with_zstd(tmp_path: Path, imported: Imported) -> None:
    (tmp_path / "log.eval").write_bytes(zstd_archive())
    import_trace([tmp_path / "log.eval"], tmp_path / "o.jsonl")
    assert list(read_programs(tmp_path / "o.jsonl")) == imported("inspect-ai")


def zstd_archive() -> bytes:
    # Python writes such archives from 3.14 on: here the entries of an uncompressed one get the method and the data.
    packed = archive(inspect_samples(), zipfile.ZIP_STORED)
    changed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(packed)) as old, zipfile.ZipFile(changed, "w", zipfile.ZIP_STORED) as new:
        for info in old.infolist():
            new.writestr(info.filename, zstandard.ZstdCompressor().compress(old.read(info)))
        sizes = [info.file_size for info in old.infolist()]
    data = bytearray(changed.getvalue())
    for magic, method, size in ((b"PK\x03\x04", 8, 22), (b"PK\x01\x02", 10, 24)):
        at = 0
        for whole in sizes:
            at = data.index(magic, at)
            data[at + method : at + method + 2] = (93).to_bytes(2, "little")
            data[at + size : at + size + 4] = whole.to_bytes(4, "little")
            at += 1
    return bytes(data)


@pytest.mark.parametrize("make", [zstd_archive, lambda: archive(inspect_samples())])
def test_damaged_archives_are_read_or_refused(tmp_path: Path, make: Callable[[], bytes]) -> None:
    whole, draw = make(), random.Random(0)
    for _ in range(60):
        data = bytearray(whole)
        data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
        (tmp_path / "log.eval").write_bytes(data)
        with contextlib.suppress(TraceError):
            import_trace([tmp_path / "log.eval"], tmp_path / "o.jsonl", format="inspect-ai")


def test_a_zip_bomb_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "log.eval", "w", zipfile.ZIP_DEFLATED) as found:
        found.writestr("_journal/start.json", json.dumps(inspect_header()))
        found.writestr("samples/q_epoch_1.json", b" " * (40 * 2**20))
    with pytest.raises(TraceError, match=r"samples/q_epoch_1\.json decompresses to over 250 times its size"):
        import_trace([tmp_path / "log.eval"], tmp_path / "o.jsonl")


@pytest.mark.parametrize("size", [0.2, 0.5, 0.9, 0.999])
def test_an_archive_that_is_cut_off_is_refused(tmp_path: Path, size: float) -> None:
    whole = archive(inspect_samples())
    (tmp_path / "log.eval").write_bytes(whole[: int(size * len(whole))])
    with pytest.raises(TraceError, match="cannot be read as a zip archive"):
        import_trace([tmp_path / "log.eval"], tmp_path / "o.jsonl")


def test_an_archive_without_samples(tmp_path: Path) -> None:
    (tmp_path / "log.eval").write_bytes(archive([]))
    with pytest.raises(TraceError, match="no program in it, read as inspect-ai"):
        import_trace([tmp_path / "log.eval"], tmp_path / "o.jsonl")


def test_calls_without_an_end_were_written_at_it(imported: Imported) -> None:
    def call(at: float, took: float, prompt: int) -> dict[str, Any]:
        event = inspect_call(at - took, at, prompt, 10)
        del event["completed"]
        return {**event, "timestamp": inspect_event("", at)["timestamp"]}

    (program,) = imported("inspect-ai", log(call(3.0, 2.0, 100), call(10.0, 3.0, 200)))
    assert (program.program_id, program.turns[0].tool_s) == ("7-1", pytest.approx(4.0))


def test_events_inside_a_tool_s_event_are_a_sub_agent_s(imported: Imported) -> None:
    tool = inspect_event("tool", 2.0, 9.0, function="handoff", id="h", events=[inspect_call(3.0, 8.0, 50, 5)])
    (program,) = imported("inspect-ai", log(inspect_call(0.0, 2.0, 100, 10), tool, inspect_call(9.5, 11.0, 120, 10)))
    assert program.children == (Child(Program("7-1/h", (Turn(50, 0, 5),)), 0, 1),)


def test_the_case(tmp_path: Path, case: Callable[[str], Path]) -> None:
    import_trace([case("45-inspect-ai-log.json")], tmp_path / "o.jsonl")
    (program,) = read_programs(tmp_path / "o.jsonl")
    assert program == Program(
        "q1-1", (Turn(1100, 0, 40, "web_browser_go", pytest.approx(4.35)), Turn(1600, 1140, 50)), 0.0
    )


def test_an_independent_reader_agrees(imported: Imported) -> None:
    text = inspect_ai().decode()
    events = [event for sample in json.loads(text)["samples"] for event in sample["events"]]
    calls = [e["output"]["usage"] for e in events if e["event"] == "model" and "cache" not in e]
    served = [use for use in calls if use["input_tokens"] != 900]  # those of the scorers
    turns = [turn for program in imported("inspect-ai") for one in program.family() for turn in one.turns]
    assert len(turns) == len(served) == 7
    assert sum(turn.input_tokens + turn.output_tokens for turn in turns) == sum(use["total_tokens"] for use in served)
