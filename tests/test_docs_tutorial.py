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


def rows() -> list[tuple[str, str]]:
    """Each piece of Python is a loop that prints a line a round: every round by itself, with its line."""
    found = []
    text = PAGE.read_text("utf-8")
    for code, shown in re.findall(r"```python\n(.*?)```\n\n```text\n(.*?)```", text, flags=re.DOTALL):
        before, values, after = re.split(r"(?<= in )\((.*)\)(?=:\n)", code)
        lines = shown.splitlines(keepends=True)
        found += [(f"{before}({value},){after}", line) for value, line in zip(values.split(","), lines, strict=True)]
    return found


ROWS = rows()


@pytest.mark.repeats
@pytest.mark.parametrize(("code", "line"), ROWS, ids=range(len(ROWS)))
def test_python(code: str, line: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, str(PAGE), "exec"), {})
    assert printed.getvalue() == line


def test_all_python_is_there() -> None:
    assert len(ROWS) == 10
    assert PAGE.read_text("utf-8").count("```python\n") == 2
