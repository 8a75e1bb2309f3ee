"""`trace fit`, `trace generate` and `trace compare`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from continuum_sim.cli import main
from continuum_sim.traces import find_trace, fit_trace, load_fit, read_programs


def run(*arguments: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == code


def row(table: str, start: str) -> list[str]:
    return next(line for line in table.splitlines() if line.startswith(start)).split()


def test_fit_then_generate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fit, out = tmp_path / "fit.json", tmp_path / "more.jsonl.zst"
    run("trace", "fit", "bfcl", "-o", fit, "--about", "mine", "--picture", tmp_path / "fit.png")
    said = capsys.readouterr().out
    made = fit_trace(find_trace("bfcl"), about="mine")
    assert load_fit(fit) == made
    gap = made.tools["search"].gap_s
    assert gap is not None
    assert gap.lognormal is not None
    cells = row(said, "search")
    assert cells[1] == "316"
    assert cells[-1] == "log-normal"
    assert f"{gap.lognormal.ks:.3f}" in cells
    assert (tmp_path / "fit.png").read_bytes().startswith(b"\x89PNG")
    run("trace", "generate", fit, "-n", 30, "--seed", 3, "-o", out, "--compare", "bfcl")
    said = capsys.readouterr().out
    assert said.startswith(f"{out}: 30 programs drawn from a fit of bfcl.jsonl, seed 3\n")
    assert row(said, "turns a program")[3] == "6.11"  # as in docs/traces.md
    assert [program.program_id for program in read_programs(out)][-1] == "fit-000029"


def test_a_profile_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t.jsonl"
    run("trace", "generate", "bfcl", "-n", 10, "-o", out)
    run("run", "--trace", out, "--arrivals", "burst", "--json")
    assert json.loads(capsys.readouterr().out.partition("\n")[2])["programs"] == 10


def test_compare_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    run("trace", "compare", "bfcl", "bfcl-long", "--json")
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["turns a program"]["ks"] == 0
    assert rows["final context, tokens"]["ks"] > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fit", "nowhere", "-o", "f.json"], 'trace "nowhere" is neither a file here'),
        (["fit", "bfcl", "-o", "f.json", "--picture", "f.gif"], "picture 'f.gif' has no format"),
        (["fit", "bfcl", "-o", "f.json", "--limit", "0"], "limit is 0"),
        (["generate", "nowhere", "-o", "t.jsonl"], 'fit "nowhere" is neither a file here nor a profile'),
        (["generate", "bfcl", "-n", "0", "-o", "t.jsonl"], "--programs is 0, expected at least 1"),
        (["generate", "bfcl", "--seed", "-1", "-o", "t.jsonl"], "--seed is -1, expected at least 0"),
        (["generate", "bfcl", "-o", "t.jsonl", "--compare", "nowhere"], 'trace "nowhere" is neither a file here'),
        (["compare", "bfcl", "nowhere"], 'trace "nowhere" is neither a file here'),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    run("trace", *arguments, code=2)
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
