"""What a page has a reader type, what it says is printed, and how its pictures were made.

A comment before a block says what is not run, or not whole, or what else it prints:

* `<!-- not run: REASON -->`;
* `<!-- not run, COMMAND: REASON -->`: only the commands of the block that begin so;
* `<!-- run with: --limit 20 -->`: tests give these flags to every simulation of the block, in place of its own; of
  Python, `<!-- run with: OLD => NEW; OLD => NEW -->` is what tests run in place of what stands there;
* `<!-- tables -->`: the block prints the Markdown tables below it, up to the next heading or block;
* `<!-- run -->` before Python that writes what commands after it read.

`not run from here: REASON`, `run with from here: FLAGS` and `tables from here` are for all blocks that follow.

A `text` block right after one of bash or Python is what that prints. One of these stands before a picture:

* `<!-- picture: FILE -->`: what the page's commands leave in their folder;
* `<!-- picture: FILE of COMMAND -->`: the same, after one command more, which tests do not run;
* `<!-- picture, not made here: REASON -->`, `<!-- picture of PAGE -->`: made elsewhere, for another page.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

ROOT = Path(__file__).parents[2]
PAGES = {page.name: page for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}

INSTALLS = re.compile(r"python3?[\d.]* -m venv |(\S*/)?pip (un)?install |(\.|source) \S+/activate")
"""Done when pages are run; .ci/run proves that the README's commands install all that they need."""
SIMULATES = re.compile(r"continuum-sim (run|compare|sweep|capacity)\b|python (benchmarks|docs)/\w+\.py( [a-z]\w*)?")
RUNS = re.compile(r"continuum-sim run\b")
BLOCK = re.compile(
    r"(?P<notes>(?:^<!-- (?:(?!-->).)* -->\n+)*)"
    r"^(?P<indent> *)```(?P<language>bash|console|python)\n(?P<body>.*?)^(?P=indent)```\n"
    r"(?P<below>\n```text\n(?P<text>.*?)^```\n)?",
    re.MULTILINE | re.DOTALL,
)
PICTURE = re.compile(r"(?P<mark><!-- picture.*? -->)?\s*!\[.*?\]\((?P<file>.*?)\)")


@dataclass(frozen=True)
class Command:
    """One thing to type, or a piece of Python."""

    page: str
    line: int
    """Of the block."""
    text: str
    shown: str = ""
    """What the page says it prints."""
    at: tuple[int, ...] = ()
    """The line of each line shown, from 1."""
    reason: str = ""
    """Why it is not run."""
    cut: str = ""
    """Flags that shorten it for a test."""
    tables: bool = False
    """Whether it prints the tables below it."""
    python: bool = False

    @property
    def short(self) -> str:
        """The command with its flags for a test, in place of the same flags of its own."""
        if self.python and self.cut:
            text = self.text
            for change in self.cut.split("; "):
                text = text.replace(*change.split(" => "))
            return text
        if not self.cut or not SIMULATES.search(self.text):
            return self.text
        # One run has one seed.
        own, cut = self.text, re.sub(r"--seeds \S+", "", self.cut) if RUNS.search(self.text) else self.cut
        for flag, value in re.findall(r"(--[\w-]+)( (?!--)\S+)?", cut):
            own = re.sub(rf"\s{flag}\b(?!-){'[ =][^ ]+' if value else ''}", "", own)
        return SIMULATES.sub(lambda found: f"{found[0]} {cut.strip()}", own)


@dataclass(frozen=True)
class Picture:
    """A picture of a page."""

    page: str
    line: int
    file: Path
    """Below `docs/img`."""
    made: str
    """The file that becomes it, in the folder of the page's commands."""
    command: Command | None
    """What else makes it."""


def commands(page: Path) -> Iterator[Command]:
    """What a page has a reader type, installations left out."""
    text, from_here = page.read_text("utf-8"), []
    for block in BLOCK.finditer(text):
        notes, language, body = re.findall(r"<!-- (.*?) -->", block["notes"]), block["language"], block["body"]
        from_here += [note.replace(" from here", "", 1) for note in notes if " from here" in note]
        notes += from_here
        line = text.count("\n", 0, block.start("body")) + 1
        below, at = block["text"] or "", cast("tuple[int, ...]", ())
        if below:
            first = text.count("\n", 0, block.start("text")) + 1
            at = tuple(range(first, first + below.count("\n")))
        cut = next((n.partition(": ")[2] for n in notes if n.startswith("run with: ")), "")
        if language == "python":
            if "run" in notes or below:
                typed = f"python -c {shlex.quote(body)}"
                yield Command(page.name, line, typed, below, at, _reason(notes, ""), cut, python=True)
            continue
        if "tables" in notes:
            below, at = _tables(text, block.end())
        found = [c for c in _typed(body, line, prompt=language == "console") if c.text]
        for command in found:
            last = below and command is found[-1]
            shown, places = (below, at) if last else (command.shown, command.at)
            yield Command(
                page.name,
                line,
                command.text,
                shown,
                places,
                _reason(notes, command.text),
                cut,
                tables="tables" in notes,
            )


def _typed(block: str, first: int, prompt: bool) -> Iterator[Command]:
    """Commands of a block, each with the lines shown below it; an installation has an empty text."""
    typed: list[str] = []
    shown: list[list[tuple[int, str]]] = []
    for at, line in enumerate(block.splitlines(), start=first):
        if typed and not _complete(typed[-1]):
            typed[-1] += "\n" + line
        elif prompt and typed and line.startswith("> "):
            typed[-1] += "\n" + line[2:]
        elif not prompt or line.startswith("$ "):
            if line.strip() and not line.startswith("#"):
                typed.append(line.removeprefix("$ "))
                shown.append([])
        elif shown:
            shown[-1].append((at, line))
    for whole, lines in zip(typed, shown, strict=True):
        text = " && ".join(part for part in whole.split(" && ") if not INSTALLS.match(part))
        yield Command("", first, text, "".join(f"{line}\n" for _, line in lines), tuple(at for at, _ in lines))


def _complete(typed: str) -> bool:
    try:
        shlex.split(typed, comments=True)
    except ValueError:  # an open quotation
        return False
    return not typed.endswith("\\")


def _reason(notes: list[str], typed: str) -> str:
    """Why a command is not run."""
    found = (re.fullmatch(r"not run(?:, (.*?))?: (.*)", note) for note in notes)
    return next((note[2] for note in found if note and typed.startswith(note[1] or "")), "")


def _tables(text: str, start: int) -> tuple[str, tuple[int, ...]]:
    """Lines of the Markdown tables from there to the next heading or block."""
    first, found = text.count("\n", 0, start) + 1, []
    for at, line in enumerate(text[start:].splitlines(), start=first):
        if line.startswith(("#", "```")):
            break
        if line.startswith("|"):
            found.append((at, line))
    return "".join(f"{line}\n" for _, line in found), tuple(at for at, _ in found)


def hang_on_short(found: Sequence[Command]) -> list[Command]:
    """Return the commands whose output is another when tests run them: shortened, or of what a shortened one wrote."""
    written: list[str] = []
    hanging = []
    for command in found:
        if command.short != command.text:
            written += re.findall(r"(?:--out|-o) ([^\s/]+(?:/[^\s$]+)?)", command.text)
        elif not any(re.search(rf"\s{re.escape(place)}\b", command.text) for place in written):
            continue
        hanging.append(command)
    return hanging


def pictures(page: Path) -> Iterator[Picture | str]:
    """Pictures of a page that are made here; for one that says nothing of where it comes from, a complaint."""
    text = page.read_text("utf-8")
    for found in PICTURE.finditer(text):
        line = text.count("\n", 0, found.start("file")) + 1
        mark = (found["mark"] or "").removeprefix("<!-- ").removesuffix(" -->")
        if mark.startswith(("picture, not made here: ", "picture of ")):
            continue
        file = (page.parent / found["file"]).resolve()
        made, _, typed = mark.removeprefix("picture: ").partition(" of ")
        if not mark.startswith("picture: "):
            yield f"{page.name}:{line}: {file.name} does not say what made it"
            continue
        command = Command(page.name, line, typed) if typed else None
        yield Picture(page.name, line, file, made, command)
