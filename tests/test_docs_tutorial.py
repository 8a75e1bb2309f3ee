"""docs/tutorial.md: every piece of Python on it prints what the page says; test_docs_commands.py has the commands."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from support.docs import missing_lines

PAGE = Path(__file__).parents[1] / "docs" / "tutorial.md"

pytestmark = pytest.mark.slow


def test_the_check_sees_a_changed_line_and_a_changed_order() -> None:
    assert missing_lines("a 1\n\nc 3\n", "a 1\nb 2\nc 3\n") == []
    assert missing_lines("a 1\nc 4\n", "a 1\nb 2\nc 3\n") == ["c 4"]
    assert missing_lines("c 3\na 1\n", "a 1\nb 2\nc 3\n") == ["a 1"]


def test_python() -> None:
    blocks = re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", PAGE.read_text("utf-8"), flags=re.DOTALL)
    assert len(blocks) == 2
    for code, shown in blocks:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(code, str(PAGE), "exec"), {})
        assert printed.getvalue() == shown
