"""`trace import` and `trace export`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import continuum_sim as cs
from continuum_sim.cli import main
from continuum_sim.traces import read_programs
from continuum_sim.traces.importers import importers
from support.logs import SAMPLES


def run(*arguments: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == code


def test_import_says_what_it_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, content = SAMPLES["mini-swe-agent"]
    (tmp_path / file).write_bytes(content)
    run("trace", "import", tmp_path / file, "-o", tmp_path / "out.jsonl.zst")
    said = capsys.readouterr().out
    assert "1 program, 3 turns from 1 file" in said
    assert "mini-swe-agent (told by how the files begin, 100% sure)" in said
    assert "measured  input_tokens" in said
    run("trace", "stats", tmp_path / "out.jsonl.zst")
    assert "1 programs, 3 turns" in capsys.readouterr().out


def test_import_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, content = SAMPLES["mooncake"]
    (tmp_path / file).write_bytes(content + b'{"input_length": 0, "output_length": 1}\n')
    run("trace", "import", tmp_path / file, "--from", "mooncake", "-o", tmp_path / "o.jsonl", "--skip-bad", "--json")
    said = capsys.readouterr()
    made = json.loads(said.out)
    assert (made["programs"], made["header"]["skipped"]) == (3, 1)
    assert "1 bad record left out" in said.err
    assert ":5: input_length is 0" in said.err


def test_an_imported_trace_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, content = SAMPLES["claude-code"]
    (tmp_path / file).write_bytes(content)
    run("trace", "import", tmp_path / file, "-o", tmp_path / "out.jsonl")
    capsys.readouterr()
    run("run", "--trace", tmp_path / "out.jsonl", "--arrivals", "burst", "--json")
    assert json.loads(capsys.readouterr().out)["programs"] == 1


def test_export_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("trace", "export", "bfcl", "--to", "mooncake", "-o", tmp_path / "x.jsonl.gz", "--limit", "5")
    assert "5 programs of bfcl.jsonl as mooncake" in capsys.readouterr().out
    run("trace", "import", tmp_path / "x.jsonl.gz", "-o", tmp_path / "back.jsonl")
    assert len(list(read_programs(tmp_path / "back.jsonl"))) == 5


def test_formats_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    run("trace", "import", "--formats")
    said = capsys.readouterr().out
    assert all(name in said for name in importers())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "no file given, expected the files to import"),
        (["nowhere.jsonl"], "nowhere.jsonl: no such file"),
        (["{file}", "--from", "moncake"], "unknown format 'moncake', did you mean 'mooncake'?"),
        (["{file}", "--from", "weka"], "{file}: id is missing, expected a non-empty string"),
        (["{file}", "--block-size", "0"], "block_size is 0, expected at least 1"),
        (["{file}", "--tokenizer", "nowhere"], "nowhere: no tokenizer there"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    if "--tokenizer" in arguments:
        pytest.importorskip("tokenizers", reason="counting tokens needs the library tokenizers")
    file = tmp_path / "m.jsonl"
    file.write_bytes(SAMPLES["mooncake"][1])
    monkeypatch.chdir(tmp_path)
    run("trace", "import", *(argument.format(file=file) for argument in arguments), code=2)
    said = capsys.readouterr().err
    assert said.startswith("error: " + message.format(file=file))
    assert said.count("\n") == 1
    assert not (tmp_path / "trace.jsonl").exists()


def test_export_of_a_run_to_continuums_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cs.run("bfcl", policy="ttl", limit=12, arrivals="poisson:rate=2", kv_blocks=1500, out="r")
    run("trace", "export", "r", "--to", "continuum", "-o", "c")
    said = capsys.readouterr().out
    assert said.startswith("c: scheduler_timestamps and results.json of 12 jobs, 69 requests; no pins ")
    assert "pinned_time" not in Path("c/scheduler_timestamps").read_text()
    for arguments, message in (
        (["r", "--to", "continuum", "-o", "c"], "error: --out "),
        (["bfcl", "--to", "continuum", "-o", "d"], "error: bfcl is not a run directory"),
        (["r", "--to", "continuum", "-o", "d", "--limit", "3"], "error: --limit is for traces"),
        (["r", "--to", "continum", "-o", "d"], "error: unknown format 'continum', did you mean 'continuum'?"),
    ):
        run("trace", "export", *arguments, code=2)
        assert capsys.readouterr().err.startswith(message)
    assert not Path("d").exists()
