"""README.md and docs/*.md: what a reader types runs as typed, in order, in one folder a page.

A comment before a block declares what is not run here, or not whole:

* `<!-- not run: REASON -->`, or for all that follows on the page `<!-- not run from here: REASON -->`;
* `<!-- not run, COMMAND: REASON -->`: only the commands of the block that begin so;
* `<!-- run with: --limit 20 -->`: appended to every simulation of the block, which takes minutes without;
* `<!-- run -->` before Python that writes what commands after it read.

`pytest -rs` lists what is not run, with the reasons.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.agent_logs import claude_code
from support.docs import missing_lines

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EVERY_TIME = {"README.md", "tutorial.md"}
"""Where a newcomer begins; of the others CI takes a share a day."""
PRINTS_WHAT_IT_SHOWS = {"tutorial.md"}
INSTALLS = re.compile(r"python3?[\d.]* -m venv |(\S*/)?pip (un)?install |(\.|source) \S+/activate")
"""Done when the tests run; .ci/run proves that the README's commands install all that they need."""
SIMULATES = re.compile(r"continuum-sim (run|compare|sweep|capacity)\b")


@dataclass(frozen=True)
class Command:
    """One thing to type."""

    page: str
    line: int
    text: str
    shown: str = ""
    """What the page says it prints."""
    reason: str = ""
    """Why it is not run."""


def commands(page: Path) -> Iterator[Command]:
    """What a page has a reader type, installations left out."""
    text, rest = page.read_text("utf-8"), ""
    blocks = r"((?:^<!-- .*? -->\n+)*)^( *)```(bash|console|python)\n(.*?)^\2```"
    for block in re.finditer(blocks, text, flags=re.MULTILINE | re.DOTALL):
        notes, language, body = re.findall(r"<!-- (.*?) -->", block[1]), block[3], block[4]
        line = text.count("\n", 0, block.start(4)) + 1
        rest = next((n.partition(": ")[2] for n in notes if n.startswith("not run from here: ")), rest)
        if language == "python":
            if "run" in notes:
                yield Command(page.name, line, f"python -c {shlex.quote(body)}")
            continue
        for typed, shown in _typed(body, prompt=language == "console"):
            command = " && ".join(part for part in typed.split(" && ") if not INSTALLS.match(part))
            if command:
                reason = next((why for begins, why in _not_run(notes) if command.startswith(begins)), rest)
                more = [n.partition(": ")[2] for n in notes if n.startswith("run with: ")]
                if more and SIMULATES.search(command):
                    command = SIMULATES.sub(lambda found: f"{found[0]} {more[0]}", command)  # noqa: B023
                yield Command(page.name, line, command, shown, reason)


def _typed(block: str, prompt: bool) -> Iterator[tuple[str, str]]:
    """Commands of a block, each with the lines shown below it."""
    typed: list[str] = []
    shown: list[str] = []
    for line in block.splitlines():
        if typed and not _complete(typed[-1]):
            typed[-1] += "\n" + line
        elif prompt and typed and line.startswith("> "):
            typed[-1] += "\n" + line[2:]
        elif not prompt or line.startswith("$ "):
            if line.strip() and not line.startswith("#"):
                typed.append(line.removeprefix("$ "))
                shown.append("")
        elif shown:
            shown[-1] += line + "\n"
    return zip(typed, shown, strict=True)


def _complete(typed: str) -> bool:
    try:
        shlex.split(typed, comments=True)
    except ValueError:  # an open quotation
        return False
    return not typed.endswith("\\")


def _not_run(notes: list[str]) -> Iterator[tuple[str, str]]:
    for note in notes:
        if found := re.fullmatch(r"not run(?:, (.*?))?: (.*)", note):
            yield found[1] or "", found[2]


# What pages speak of and cannot bring along ---------------------------------------------------------------


def _logs(folder: Path) -> None:
    (folder / "my-project").mkdir()
    (folder / "my-project" / "s-1.jsonl").write_bytes(claude_code())
    good = '{"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [1, 2]}\n'
    (folder / "mooncake").mkdir()
    (folder / "mooncake" / "m.jsonl").write_text(4 * good + good.replace("600", "0"))
    (folder / "aiperf").mkdir()
    (folder / "aiperf" / "c.jsonl").write_text(
        '{"session_id": "s", "turns": [{"text": "hello", "delay": 0, "output_length": 5}]}\n'
    )


FILES: dict[str, Callable[[Path], None]] = {"import.md": _logs}


# The tests ------------------------------------------------------------------------------------------------

ALL = {page.name: list(commands(page)) for page in PAGES}
NOT_RUN = [command for found in ALL.values() for command in found if command.reason]


def run(command: Command, folder: Path, limit_s: float = 900) -> subprocess.CompletedProcess[str]:
    """As a shell runs it in which the virtual environment of these tests is active."""
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "PYTHONPATH")}
    environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    return subprocess.run(
        ["bash", "-c", command.text],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )


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
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    FILES.get(page, lambda folder: None)(tmp_path)
    for command in ALL[page]:
        if command.reason:
            continue
        done = run(command, tmp_path)
        where = f"{page}:{command.line}: {command.text}\n{done.stdout}{done.stderr}"
        if command.shown.startswith("error: "):
            assert done.returncode == 2, where
            assert done.stderr == command.shown, where
        else:
            assert done.returncode == 0, where
            if page in PRINTS_WHAT_IT_SHOWS:
                assert missing_lines(command.shown, done.stdout + done.stderr) == [], where


@pytest.mark.slow
@pytest.mark.parametrize("command", NOT_RUN, ids=lambda command: f"{command.page}:{command.text.split()[0]}")
def test_not_run(command: Command) -> None:
    pytest.skip(f"{command.page}:{command.line}: {command.text.splitlines()[0]}: {command.reason}")


def test_nothing_is_left_out_in_silence() -> None:
    """Every command of a page is either run or has its reason, and what holds a gap to be filled in has one."""
    for page in PAGES:
        text = page.read_text("utf-8")
        found = ALL[page.name]
        prompts = len(re.findall(r"^ *\$ (?!(?:python3?\S* -m venv|pip install)\b)", text, flags=re.MULTILINE))
        assert prompts <= len(found), page.name
        declared = len(re.findall(r"^<!-- not run", text, flags=re.MULTILINE))
        assert declared <= sum(bool(command.reason) for command in found), f"{page.name} declares what it does not show"
    gaps = [c.text for found in ALL.values() for c in found if "…" in c.text and not c.reason]
    assert gaps == []
    assert len(NOT_RUN) <= 40
    assert sum(len(found) for found in ALL.values()) - len(NOT_RUN) >= 60


def test_what_is_typed_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "```bash\n# not typed\npython3 -m venv .venv && .venv/bin/pip install . && .venv/bin/x a   # why\n"
        ". .venv/bin/activate\ny b \\\n  c\n```\n"
        "<!-- run with: --limit 3 -->\n"
        "```console\n$ for r in 1 2; do\n>   continuum-sim compare --rate $r\n> done\nshown\n"
        "$ z '{\n  d}'\nerror: e\n```\n"
        "<!-- not run, q: needs a GPU -->\n\n```console\n$ q 1\n$ r 2\n```\n"
        "<!-- run -->\n```python\nprint(1)\n```\n```python\nprint(2)\n```\n"
        "<!-- not run from here: takes minutes -->\n\n```console\n$ s\n```\ntext\n```console\n$ t\n```\n"
    )
    found = list(commands(page))
    assert [c.text for c in found] == [
        ".venv/bin/x a   # why",
        "y b \\\n  c",
        "for r in 1 2; do\n  continuum-sim compare --limit 3 --rate $r\ndone",
        "z '{\n  d}'",
        "q 1",
        "r 2",
        "python -c 'print(1)\n'",
        "s",
        "t",
    ]
    assert [c.reason for c in found] == [*4 * [""], "needs a GPU", "", "", "takes minutes", "takes minutes"]
    assert (found[2].shown, found[3].shown, found[0].line) == ("shown\n", "error: e\n", 2)


def test_a_command_that_fails_is_seen(tmp_path: Path) -> None:
    assert run(Command("page.md", 1, "exit 3"), tmp_path).returncode == 3
    assert run(Command("page.md", 1, "continuum-sim policies | head -n 1"), tmp_path).stdout
