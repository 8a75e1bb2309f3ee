"""The notebooks as they lie in git; CI runs them with `pytest --nbmake notebooks`."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_all_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01_first_run",
        "02_policy_sweep",
        "03_write_your_own_policy",
        "04_paper_figures",
        "05_validate_on_vllm",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_cleared(path: Path) -> None:
    for cell in json.loads(path.read_text())["cells"]:
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None), "clear all outputs before you commit"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_story_comes_with_the_code(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    assert "".join(cells[0]["source"]).startswith("# ")
    assert any("## What next" in "".join(cell["source"]) for cell in cells)
    for cell in cells:
        if cell["cell_type"] == "code":
            ast.parse("".join(line for line in cell["source"] if not line.startswith("%")))
