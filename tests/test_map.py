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


def test_the_page_of_one_turn_is_what_a_run_does(one_turn: ModuleType) -> None:
    if build_name() == "compiled":
        pytest.skip("calls of compiled modules cannot be traced")
    before, during, after = map(list, one_turn.crossings())
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
    sizes = {
        str(path.relative_to(ROOT)): len(path.read_text("utf-8").splitlines())
        for folder in HEART
        for path in (ROOT / folder).rglob("*.py")
    }
    assert len(sizes) > 20
    assert {file: lines for file, lines in sizes.items() if lines > MOST_LINES} == {}
    one_turn.main(heart=True)
    printed = re.findall(r"^\| (\d+) +\| (\S+\.py)", capsys.readouterr().out, flags=re.MULTILINE)
    assert {file: int(lines) for lines, file in printed} == sizes
    assert [int(lines) for lines, _ in printed] == sorted(sizes.values(), reverse=True)


def test_every_package_says_what_lives_in_it() -> None:
    """In two sentences at least: what is here, where to begin, what to keep."""
    packages = [path for folder in LAYERS for path in (ROOT / folder).rglob("__init__.py")]
    assert len(packages) > 40
    said = {str(path.parent.relative_to(ROOT)): docstring(path).partition(">>>")[0] for path in packages}
    assert {package for package, text in said.items() if len(re.findall(r"\.(?=\s|$)", text)) < 2} == set()


def docstring(path: Path) -> str:
    return ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
