from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from continuum_sim.traces import read_programs

DOCS = Path(__file__).parents[2] / "docs" / "traces.md"


def blocks(language: str, page: Path = DOCS) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_the_documented_examples_are_valid_traces(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text("".join(block.replace("\n", "") + "\n" for block in blocks("json")))
    assert [program.program_id for program in read_programs(path)] == ["fix-typo", "compacts", "fix-bug"]


def test_the_documented_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks("python"):
        exec(block, {})
    assert capsys.readouterr().out.startswith("3680 0.97")
    assert max(len(program.turns) for program in read_programs("short.jsonl.zst")) == 5


def test_the_documented_fit_runs(capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks("python", DOCS.with_name("generate.md")):
        names: dict[str, Any] = {}
        exec(block, names)
        assert next(names["programs"]).program_id == "program-000000"
    assert capsys.readouterr().out.startswith("LogNormal(mu=")
