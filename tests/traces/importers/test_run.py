"""Finding files, detecting formats, compressed files, bad records, and what is written."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from continuum_sim.traces import TraceError, import_trace, read_header, read_programs
from continuum_sim.traces.importers import detect
from continuum_sim.traces.importers.head import head_of
from support.agent_logs import lines, mini_swe_agent
from support.logs import NEED_TOKENIZER, SAMPLES, word_tokenizer
from support.request_logs import mooncake, openai_log, weka


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_sample_is_told_apart(name: str) -> None:
    found, sure = detect(head_of(SAMPLES[name][1]))
    assert found.name == name
    assert sure >= 0.9


@pytest.mark.parametrize("name", sorted(SAMPLES))
@pytest.mark.parametrize("size", [2000, 600])
def test_a_short_head_misleads_nobody(name: str, size: int) -> None:
    try:
        found, _ = detect(head_of(SAMPLES[name][1][:size]))
    except TraceError:
        return
    assert found.name == name


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_packed_files_give_the_same_trace(tmp_path: Path, suffix: str) -> None:
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.ZstdCompressor().compress}[suffix]
    source = tmp_path / f"m.jsonl{suffix}"
    source.write_bytes(pack(mooncake()))
    out = tmp_path / f"out.jsonl{suffix}"
    made = import_trace([source], out)
    assert (made.format, made.programs, made.turns) == ("mooncake", 3, 4)
    assert [p.program_id for p in read_programs(out)] == ["m-1", "s", "m-3"]
    assert out.read_bytes()[:2] == {"": b'{"', ".gz": b"\x1f\x8b", ".zst": b"\x28\xb5"}[suffix]


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(mooncake())
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        import_trace([tmp_path / "m.jsonl"], tmp_path / name)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_folders_are_searched_and_the_rest_passed_over(tmp_path: Path) -> None:
    for job in ("one", "two"):
        folder = tmp_path / "runs" / job
        folder.mkdir(parents=True)
        (folder / f"{job}.traj.json").write_bytes(mini_swe_agent())
        (folder / "preds.json").write_text('{"one": {"patch": ""}}')
        (folder / "notes.txt").write_text("not looked at")
    made = import_trace([tmp_path / "runs"], tmp_path / "out.jsonl")
    assert (made.format, made.programs, made.header.files, made.passed_over) == ("mini-swe-agent", 2, 2, 2)


def test_one_format_at_a_time(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(weka())
    (tmp_path / "b.jsonl").write_bytes(mooncake())
    with pytest.raises(TraceError, match=r"b\.jsonl: is mooncake, but .*a\.json is weka"):
        import_trace([tmp_path], tmp_path / "out.jsonl")


def test_a_log_is_not_written_over(tmp_path: Path) -> None:
    source = tmp_path / "trace.jsonl"
    source.write_bytes(SAMPLES["mooncake"][1])
    with pytest.raises(TraceError, match=r"trace\.jsonl: is an input and would be overwritten, .*\(-o\)"):
        import_trace([tmp_path], source)
    assert source.read_bytes() == SAMPLES["mooncake"][1]


def test_names_that_several_files_have_are_numbered(tmp_path: Path) -> None:
    for run in ("a", "b"):
        (tmp_path / run).mkdir()
        (tmp_path / run / "job.traj.json").write_bytes(mini_swe_agent())
    made = import_trace([tmp_path / "a", tmp_path / "b"], tmp_path / "out.jsonl")
    assert [p.program_id for p in read_programs(tmp_path / "out.jsonl")] == ["job", "job#2"]
    assert made.header.notes == {"program ids that several programs had, numbered": 1}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "unknown format"),
        (b'{"program_id":"a","turns":[]}', "is a trace of continuum-sim already"),
        (b'{"continuum_trace":1}', "is a trace of continuum-sim already"),
    ],
)
def test_a_file_that_cannot_be_told(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=f"{path}: {message}"):
        import_trace([path], tmp_path / "out.jsonl")


def test_two_formats_that_fit_are_both_named() -> None:
    head = head_of(lines({"sessionId": "s", "parentUuid": None, "input_length": 1, "output_length": 2, "timestamp": 0}))
    with pytest.raises(TraceError, match=r"may be claude-code \(100%\) or mooncake \(95%\), say which with --from"):
        detect(head)


def test_a_bad_record_stops_the_import_or_is_counted(tmp_path: Path) -> None:
    rows = mooncake().splitlines(keepends=True)
    rows[2] = b'{"timestamp": 1500, "input_length": -5, "output_length": 4}\n'
    source, out = tmp_path / "m.jsonl", tmp_path / "out.jsonl"
    source.write_bytes(b"".join(rows))
    with pytest.raises(TraceError, match=r"m\.jsonl:3: input_length is -5, expected an integer from 1 to 2\*\*53"):
        import_trace([source], out)
    assert not out.exists()
    made = import_trace([source], out, skip_bad=True)
    assert (made.programs, made.header.skipped) == (2, 1)
    assert made.first_skipped == (f"{source}:3: input_length is -5, expected an integer from 1 to 2**53",)


def test_a_conversation_with_a_bad_turn_is_left_out_whole(tmp_path: Path) -> None:
    rows = mooncake().splitlines(keepends=True)
    rows[3] = b'{"session_id": "s", "delay": 250, "input_length": 1100}\n'
    (tmp_path / "m.jsonl").write_bytes(b"".join(rows))
    import_trace([tmp_path / "m.jsonl"], tmp_path / "out.jsonl", skip_bad=True)
    assert [p.program_id for p in read_programs(tmp_path / "out.jsonl")] == ["m-1", "m-3"]


def test_nothing_but_bad_records(tmp_path: Path) -> None:
    (tmp_path / "m.jsonl").write_bytes(lines({"input_length": 0, "output_length": 1, "timestamp": 0}))
    with pytest.raises(TraceError, match=r"every record was bad, 1 in all; the first: .*m\.jsonl:1: input_length is 0"):
        import_trace([tmp_path / "m.jsonl"], tmp_path / "out.jsonl", skip_bad=True)
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]


def test_the_header_says_where_the_numbers_come_from(tmp_path: Path) -> None:
    (tmp_path / "a.traj.json").write_bytes(mini_swe_agent("1.15.0", times=False))
    import_trace([tmp_path / "a.traj.json"], tmp_path / "out.jsonl")
    header = read_header(tmp_path / "out.jsonl")
    assert header is not None
    assert header.format == "mini-swe-agent-v1"
    assert "tool_s: no times in these files, 0 everywhere" in header.missing
    assert (header.files, header.skipped, header.tokenizer) == (1, 0, None)


@pytest.mark.parametrize("name", NEED_TOKENIZER)
def test_text_is_not_counted_unless_asked(tmp_path: Path, name: str) -> None:
    file, content = SAMPLES[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(TraceError, match=r"has text and no token counts: say what counts them with --tokenizer DIR"):
        import_trace([tmp_path / file], tmp_path / "out.jsonl")


def test_a_tokenizer_finds_common_system_prompts(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    (tmp_path / "calls.jsonl").write_bytes(openai_log())
    made = import_trace([tmp_path / "calls.jsonl"], tmp_path / "out.jsonl", tokenizer=word_tokenizer(tmp_path).parent)
    first, other = read_programs(tmp_path / "out.jsonl")
    assert first.shared_prefix == other.shared_prefix
    assert first.shared_prefix is not None
    assert first.shared_prefix.tokens == 3  # system be brief
    assert made.header.tokenizer == tmp_path.name


def test_a_tokenizer_that_is_none(tmp_path: Path) -> None:
    pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    (tmp_path / "m.jsonl").write_bytes(mooncake())
    with pytest.raises(TraceError, match=r"tokenizer\.json: no tokenizer there"):
        import_trace([tmp_path / "m.jsonl"], tmp_path / "out.jsonl", tokenizer=tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(TraceError, match=r"tokenizer\.json: not a tokenizer: "):
        import_trace([tmp_path / "m.jsonl"], tmp_path / "out.jsonl", tokenizer=tmp_path)


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    rows = [{"timestamp": i, "input_length": 512, "output_length": 1, "hash_ids": [i]} for i in range(20_000)]
    source = tmp_path / "m.jsonl"
    source.write_bytes(lines(*rows))
    seen: list[tuple[int, int]] = []
    import_trace([source], tmp_path / "out.jsonl.gz", progress=lambda done, total: seen.append((done, total)))
    assert len(seen) > 2
    assert seen == sorted(seen)
    assert seen[-1] == (source.stat().st_size,) * 2
