"""docs/import.md: its example runs, and no format is missing."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from continuum_sim.traces.exporters import EXPORTERS
from continuum_sim.traces.header import decode_header
from continuum_sim.traces.importers import importers

PAGE = (Path(__file__).parents[3] / "docs" / "import.md").read_text(encoding="utf-8")


def test_every_format_has_its_row() -> None:
    rows = re.findall(r"^\| `([a-z][a-z0-9-]*)` \| ", PAGE, flags=re.MULTILINE)
    # The last example is about runs, which `sim` tests.
    assert set(rows) == {*importers(), *EXPORTERS.load(), "continuum"}


def test_the_documented_header_is_one() -> None:
    (block,) = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
    assert decode_header(block.encode()).format == "mini-swe-agent-v1"


def test_the_documented_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
    exec(block, {})
    assert capsys.readouterr().out.startswith("weka 10 ")
