"""docs/tutorial.md: every command and every piece of Python on it prints what the page says."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest

from continuum_sim.cli import main

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"

pytestmark = pytest.mark.slow


def missing_lines(shown: str, printed: str) -> list[str]:
    """Lines shown that are not printed, in that order; a page may leave lines out but not change them."""
    rest = iter(printed.splitlines())
    return [line for line in shown.splitlines() if line.strip() and not any(line.strip() in other for other in rest)]


def test_the_check_sees_a_changed_line_and_a_changed_order() -> None:
    assert missing_lines("a 1\n\nc 3\n", "a 1\nb 2\nc 3\n") == []
    assert missing_lines("a 1\nc 4\n", "a 1\nb 2\nc 3\n") == ["c 4"]
    assert missing_lines("c 3\na 1\n", "a 1\nb 2\nc 3\n") == ["a 1"]


def test_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```console\n\$ continuum-sim (.*?)\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert len(blocks) == 4
    for command, shown in blocks:
        with pytest.raises(SystemExit) as exited:
            main(shlex.split(command))
        out, err = capsys.readouterr()
        assert exited.value.code == 0, err
        assert missing_lines(shown, out + err) == [], command


def test_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    for code, shown in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, str(PAGE), "exec"), {})
        assert printed.getvalue() == shown
