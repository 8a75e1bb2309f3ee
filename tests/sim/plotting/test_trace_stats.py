"""Pictures of a trace show its numbers."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from continuum_sim.cli import main
from continuum_sim.errors import ConfigError
from continuum_sim.plotting.trace_stats import draw_trace
from continuum_sim.traces import find_trace, read_programs, write_programs
from continuum_sim.traces.schema import Program, Turn

NAMES = ["turns", "contexts", "tokens", "gaps", "reuse"]


def run(*arguments: object, code: int = 0) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    assert stop.value.code == code


def test_every_picture_has_its_table(tmp_path: Path) -> None:
    result = draw_trace(read_programs(find_trace("swebench")), tmp_path, formats=["png"])
    assert [one.name for one in result.drawn] == NAMES
    assert [(one.name, one.missing) for one in result.skipped] == [("concurrency", "needs arrival times")]
    assert {path.name for path in tmp_path.iterdir()} == {
        *(f"{name}.{kind}" for name in NAMES for kind in ("png", "csv")),
        "figures.json",
    }
    turns = pd.read_csv(tmp_path / "turns.csv")
    lengths = [len(program.turns) for program in read_programs(find_trace("swebench"))]
    assert turns.loc[turns["turns"] == 40, "share"].item() == sum(n <= 40 for n in lengths) / 100
    gaps = pd.read_csv(tmp_path / "gaps.csv")
    assert list(dict.fromkeys(gaps["curve"])) == ["cat", "sed", "grep", "nl", "python", "python3", "80 others"]
    assert (gaps.groupby("curve")["share"].max() == 1).all()


def test_the_same_trace_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        draw_trace(read_programs(find_trace("bfcl")), tmp_path / name, formats=["svg"])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_programs_there_at_once_by_hand(tmp_path: Path) -> None:
    def program(name: str, at: float, gap: float) -> Program:
        return Program(name, (Turn(10, 0, 5, "ls", gap), Turn(20, 15, 5)), at)

    draw_trace([program("a", 0.0, 10.0), program("b", 4.0, 2.0), program("c", 6.0, 1.0)], tmp_path, formats=["svg"])
    table = pd.read_csv(tmp_path / "concurrency.csv")
    assert list(zip(table["time_s"], table["programs"], strict=True)) == [(0, 1), (4, 2), (6, 2), (7, 1), (10, 0)]
    reuse = pd.read_csv(tmp_path / "reuse.csv")
    assert reuse.to_dict("list") == {"turn": [2], "programs": [3], "p10": [0.75], "p50": [0.75], "p90": [0.75]}


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    result = draw_trace([Program("a", (Turn(10, 0, 5),))], tmp_path, formats=["png"])
    assert [one.name for one in result.skipped] == ["gaps", "reuse", "concurrency"]
    with pytest.raises(ConfigError, match="unknown format 'gif'"):
        draw_trace([], tmp_path, formats=["gif"])
    with pytest.raises(ConfigError, match="no program to draw"):
        draw_trace([], tmp_path)


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_programs(tmp_path / "t.jsonl", read_programs(find_trace("bfcl"), limit=5))
    run("trace", "stats", tmp_path / "t.jsonl", "--pictures", tmp_path / "pictures")
    said = capsys.readouterr()
    assert said.out.startswith("t.jsonl: 5 programs")
    assert said.err.rstrip().endswith(f"wrote {tmp_path / 'pictures'}")
    assert (tmp_path / "pictures" / "reuse.pdf").exists()
