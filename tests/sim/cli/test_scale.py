"""`trace check`, `trace scale` and `trace mix`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from continuum_sim.cli import main
from continuum_sim.traces import Scale, find_trace, read_programs, trace_stats


def run(*arguments: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == code


def test_check_says_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    run("trace", "check", "swebench")
    said = capsys.readouterr().out
    assert said.startswith("swebench.jsonl: no fault (no header)\n100 programs, 3,680 turns; arrival times in 0 ")
    run("trace", "check", "swebench", "--json")
    found = json.loads(capsys.readouterr().out)
    stats = trace_stats(read_programs(find_trace("swebench")))
    assert found["input_tokens"] == round(stats.input_tokens.mean * stats.turns)
    assert found["new_tokens"] == round(stats.new_tokens.mean * stats.turns)
    assert found["tool_s"] == pytest.approx(stats.tool_s_total)


def test_check_names_the_first_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = find_trace("bfcl").read_text().splitlines()[:3]
    lines[2] = lines[2].replace('"kept_tokens":0', '"kept_tokens":1', 1)
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(lines))
    run("trace", "check", path, code=2)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == (
        f"error: {path}:3: turns[0].kept_tokens is 1, expected 0 (nothing comes before the first turn)\n"
    )


def test_scale_writes_what_validate_would_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small.jsonl"
    run("trace", "scale", "swebench", "--scale", "tokens=8,gaps=4", "--limit", 5, "-o", out)
    assert capsys.readouterr().out == f"{out}: 5 programs\n"
    assert list(read_programs(out)) == list(Scale(8, 4).apply(read_programs(find_trace("swebench"), limit=5)))
    run("trace", "check", out)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["swebench"], "nothing to change: give --scale"),
        (
            ["swebench", "--scale", "token=8"],
            "--scale 'token=8': 'token=8' is not tokens=NUMBER, gaps=NUMBER or",
        ),
        (["swebench", "--tail", "quantile=2,stretch=3"], "tail quantile=2: expected a number from 0 to below 1"),
        (
            ["swebenhc", "--scale", "tokens=8"],
            'trace "swebenhc" is neither a file here nor a bundled trace, did you mean',
        ),
        (["swebench", "--scale", "tokens=8", "--limit", "0"], "limit is 0, expected at least 1"),
        (["swebench", "--scale", "tokens=0"], "scale tokens=0: expected a number above 0 to divide by, from 1e-09 to"),
    ],
)
def test_what_is_wrong_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    run("trace", "scale", *arguments, "-o", tmp_path / "out.jsonl", code=2)
    said = capsys.readouterr().err
    assert said.startswith(f"error: {message}")
    assert said.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_mix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    run("trace", "mix", "swebench:0.7", "bfcl:0.3", "--programs", "200", "--seed", "1", "-o", "mix.jsonl")
    assert capsys.readouterr().out == (
        "mix.jsonl: 200 programs, seed 1\n"
        "  swebench: 140 programs, of 100 in swebench.jsonl (some several times)\n"
        "  bfcl: 60 programs, of 100 in bfcl.jsonl\n"
    )
    run("trace", "mix", "swebench", "bfcl", "-o", "m.jsonl.gz", "--json")
    assert [part["programs"] for part in json.loads(capsys.readouterr().out)["parts"]] == [100, 100]
    run("trace", "mix", "swebench:a", "-o", "n.jsonl", code=2)
    assert "the weight is 'a', expected a number above 0" in capsys.readouterr().err
