"""README.md and docs/*.md: what a reader types runs as typed, in order, in one folder a page, and prints what is shown.

What takes minutes runs shortened, and prints what it printed when `python docs/refresh.py` last ran it whole; comments
say so, as `docs/printed/pages.py` describes. `pytest -rs` lists what is not run, with the reasons.
"""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from printed import lock
from printed.folder import prepare, run
from printed.pages import PAGES, ROOT, Command, Picture, commands, hang_on_short, pictures
from printed.prose import TRACED, untraced
from printed.visit import differences, stale

EVERY_TIME = {"README.md", "tutorial.md"}
"""Where a newcomer begins; of the others CI takes a share a day."""

ALL = {name: list(commands(page)) for name, page in PAGES.items()}
NOT_RUN = [command for found in ALL.values() for command in found if command.reason]
PYTHON = [c for found in ALL.values() for c in found if c.python and c.shown and not c.cut]
LOCKED = lock.read()


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(name, marks=() if name in EVERY_TIME else pytest.mark.repeats)
        for name, found in ALL.items()
        if any(not command.reason for command in found)
    ],
)
def test_the_commands_of(page: str, tmp_path: Path) -> None:
    wrong = stale(PAGES[page], tmp_path / "page", LOCKED.get(page, {}))
    assert wrong == [], "\n".join(wrong)


@pytest.mark.slow
@pytest.mark.repeats
@pytest.mark.parametrize("command", PYTHON, ids=lambda command: f"{command.page}:{command.line}")
def test_python_prints_what_the_page_shows(command: Command, tmp_path: Path) -> None:
    done = run(command, prepare(command.page, tmp_path / "page"))
    assert (done.returncode, differences(command, done)) == (0, []), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("command", NOT_RUN, ids=lambda command: f"{command.page}:{command.text.split()[0]}")
def test_not_run(command: Command) -> None:
    pytest.skip(f"{command.page}:{command.line}: {command.text.splitlines()[0]}: {command.reason}")


@pytest.mark.parametrize("page", TRACED)
def test_numbers_in_sentences_are_printed(page: str) -> None:
    wrong = [f"{page}:{line}: {why}" for line, why in untraced(PAGES[page].read_text("utf-8"), LOCKED.get(page, {}))]
    assert wrong == [], "\n".join(wrong)


def test_the_lock_is_of_what_is_on_the_pages() -> None:
    for name, found in ALL.items():
        here = {command.short for command in hang_on_short([c for c in found if not c.reason])}
        drawn = {made.file.name for made in pictures(PAGES[name]) if isinstance(made, Picture)}
        locked = set(LOCKED.get(name, {}))
        assert here <= locked, f"run python docs/refresh.py {name}"
        assert locked <= here | drawn, f"run python docs/refresh.py {name}"


def test_every_picture_says_what_made_it() -> None:
    found = [made for page in PAGES.values() for made in pictures(page)]
    assert [made for made in found if isinstance(made, str)] == []
    files = Counter(made.file for made in found if isinstance(made, Picture))
    assert [file.name for file, times in files.items() if times > 1 or not file.exists()] == []
    told = "".join(page.read_text("utf-8") for page in PAGES.values())
    assert [path.name for path in (ROOT / "docs" / "img").iterdir() if f"img/{path.name})" not in told] == []


def test_nothing_is_left_out_in_silence() -> None:
    """Every command of a page is either run or has its reason, and what holds a gap to be filled in has one."""
    for name, page in PAGES.items():
        text = page.read_text("utf-8")
        found = ALL[name]
        prompts = len(re.findall(r"^ *\$ (?!(?:python3?\S* -m venv|pip install)\b)", text, flags=re.MULTILINE))
        assert prompts <= len(found), name
        declared = len(re.findall(r"^<!-- not run", text, flags=re.MULTILINE))
        assert declared <= sum(bool(command.reason) for command in found), f"{name} declares what it does not show"
    gaps = [c.text for found in ALL.values() for c in found if "…" in c.text and not c.reason]
    assert gaps == []
    assert len(NOT_RUN) <= 40
    assert sum(len(found) for found in ALL.values()) - len(NOT_RUN) >= 60
