"""What leads a newcomer through the code: the page of one turn, the docstring of each package, and short files."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest

from continuum_sim.build import build_name
from continuum_sim.traces import find_trace, read_programs, write_programs

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "one-turn.md"
LAYERS = ("policies", "sim", "traces", "validate")
HEART = ("sim/engine", "policies/host")
MOST_LINES = 450


class Part(NamedTuple):
    """One part of the page: the files in its list, in order, and those it says to skip."""

    listed: list[str]
    skipped: list[str]


def part(text: str) -> Part:
    """Read a part of the page."""
    lines = {True: "", False: ""}
    for line in text.splitlines():
        lines[re.match(r"\d+\. ", line) is not None] += line
    return Part(*(re.findall(r"\]\(\.\./([^)]+\.py)\)", lines[listed]) for listed in (True, False)))


@pytest.fixture(scope="module")
def one_turn() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        return importlib.import_module("one_turn")


def test_the_page_of_one_turn_is_what_a_run_does(one_turn: ModuleType, tmp_path: Path) -> None:
    if build_name() == "compiled":
        pytest.skip("calls of compiled modules cannot be traced")
    trace = tmp_path / "one.jsonl"
    write_programs(trace, read_programs(find_trace("swebench"), limit=1))
    before, during, after = map(list, one_turn.crossings(trace=str(trace)))
    first, turn, last = map(part, PAGE.read_text("utf-8").split("\n## ")[1:])
    assert turn.listed == [file for file in during if file in turn.listed]
    assert sorted(turn.listed + turn.skipped) == sorted(set(during) - set(first.listed)), (
        "each file a turn crosses, once"
    )
    assert first.listed == [file for file in before if file in first.listed]
    assert last.listed == [file for file in after if file in last.listed]
    assert first.listed
    assert last.listed


def test_files_at_the_heart_are_short(one_turn: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    """The examples in their docstrings aside."""
    files = {path: path.read_text("utf-8") for folder in HEART for path in (ROOT / folder).rglob("*.py")}
    assert len(files) > 20
    plain = {
        path: re.sub(r"\n +Examples\n +-{8}\n.*?(?=\"{3})", "", text, flags=re.DOTALL) for path, text in files.items()
    }
    assert {path.name: len(text.splitlines()) for path, text in plain.items() if text.count("\n") > MOST_LINES} == {}
    one_turn.main(heart=True)
    printed = re.findall(r"^\| (\d+) +\| (\S+\.py)", capsys.readouterr().out, flags=re.MULTILINE)
    assert {file for _, file in printed} == {str(path.relative_to(ROOT)) for path in files}
    assert [int(lines) for lines, _ in printed] == sorted((text.count("\n") for text in files.values()), reverse=True)


def test_every_package_says_what_lives_in_it() -> None:
    """In two sentences at least: what is here, where to begin, what to keep."""
    packages = [path for folder in LAYERS for path in (ROOT / folder).rglob("__init__.py")]
    assert len(packages) > 40
    said = {str(path.parent.relative_to(ROOT)): docstring(path).partition(">>>")[0] for path in packages}
    assert {package for package, text in said.items() if len(re.findall(r"\.(?=\s|$)", text)) < 2} == set()


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
