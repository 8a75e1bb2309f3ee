"""The notebooks: what they tell, and that they run and show what they showed when they were refreshed."""

from __future__ import annotations

import ast
import json
from pathlib import Path

import pytest

from printed.lines import masked
from printed.notebooks import LARGEST_BYTES, executed, plain, shown
from printed.notebooks import NOTEBOOKS as FOUND

NOTEBOOKS = list(FOUND.values())


def test_all_are_there() -> None:
    assert [path.stem for path in NOTEBOOKS] == [
        "01_first_run",
        "02_policy_sweep",
        "03_write_your_own_policy",
        "04_paper_figures",
        "05_validate_on_vllm",
    ]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_outputs_are_cleared_or_those_of_one_run(path: Path) -> None:
    text = path.read_text("utf-8")
    code = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    counts = [cell["execution_count"] for cell in code]
    if any(cell["outputs"] for cell in code):
        assert counts == list(range(1, len(code) + 1)), f"run python docs/refresh.py {path.name}"
        assert plain(json.loads(text)) == text, f"run python docs/refresh.py {path.name}"
        assert len(text.encode()) <= LARGEST_BYTES
    else:
        assert set(counts) == {None}, f"run python docs/refresh.py {path.name}"


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_it_runs_and_shows_what_it_showed(path: Path, tmp_path: Path) -> None:
    """But for pictures, which every version of matplotlib draws a little differently."""
    old, new = path.read_text("utf-8"), executed(path, tmp_path)
    if lines := shown(old, pictures=False):
        now = [masked(line) for line in shown(new, pictures=False)]
        assert [masked(line) for line in lines] == now, f"run python docs/refresh.py {path.name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_story_comes_with_the_code(path: Path) -> None:
    cells = json.loads(path.read_text())["cells"]
    assert "".join(cells[0]["source"]).startswith("# ")
    assert any("## What next" in "".join(cell["source"]) for cell in cells)
    for cell in cells:
        if cell["cell_type"] == "code":
            ast.parse("".join(line for line in cell["source"] if not line.startswith("%")))
