"""A page's commands, run: whole, to write the page again, or shortened, to see whether it is stale."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from printed import lock
from printed.folder import prepare, run
from printed.lines import GONE, Renewed, changed_numbers, digest, renewed, renewed_tables
from printed.pages import Command, Picture, commands, hang_on_short, pictures
from printed.prose import TRACED, untraced


@dataclass
class Visit:
    """What came of a page."""

    page: str
    outputs: int = 0
    changed: int = 0
    pictures: int = 0
    redrawn: list[str] = field(default_factory=list)
    numbers: list[tuple[int, str, str]] = field(default_factory=list)
    """Line, old and new, in the order of the page."""
    wrong: list[str] = field(default_factory=list)
    """What somebody has to look at."""
    locked: dict[str, Any] = field(default_factory=dict)
    """The page's part of the lock."""

    def __str__(self) -> str:
        parts = (
            [f"{self.outputs} outputs, {self.changed} changed ({len(self.numbers)} numbers)"] if self.outputs else []
        )
        if self.pictures:
            parts.append(f"{self.pictures} pictures, {len(self.redrawn)} changed")
        if self.wrong:
            parts.append(f"{len(self.wrong)} to look at")
        return f"{self.page}: {'; '.join(parts) or 'nothing printed'}"


def refresh(page: Path, folder: Path, before: Mapping[str, Any]) -> Visit:
    """Run everything whole, write the page and its pictures again, then see what the shortened commands print.

    `before` is what the lock holds of the page.
    """
    visit = Visit(page.name)
    lines = page.read_text("utf-8").splitlines()
    whole = prepare(page.name, folder / "whole")
    for command in _run(page):
        done = run(command, whole)
        if complaint := failure(command, done):
            visit.wrong.append(complaint)
        elif command.shown:
            visit.outputs += 1
            _renew(command, done, lines, visit)
    _redraw(page, whole, before, visit)
    text = "\n".join(line for line in lines if line != GONE) + "\n"
    if text != page.read_text("utf-8"):
        page.write_text(text, "utf-8")
    if hang_on_short(_run(page)):
        relock(page, folder, visit)
    else:
        visit.locked = {
            name: entry | ({"short": entry["data"]} if "data" in entry else {})
            for name, entry in visit.locked.items()
            if entry
        }
    if page.name in TRACED:
        told = {old: new for _, old, new in visit.numbers}
        for line, complaint in untraced(text, visit.locked):
            new = told.get(complaint.split()[0])
            visit.wrong.append(f"{page.name}:{line}: {complaint}{f', where it is {new} now' if new else ''}")
    return visit


def relock(page: Path, folder: Path, visit: Visit) -> None:
    """Run the shortened commands, and note what they print now."""
    drawn = [made for made in pictures(page) if isinstance(made, Picture) and not made.command]
    if not drawn and not hang_on_short(_run(page)):
        return
    wrong: list[str] = []
    for name, entry in shortened(page, folder / "short", wrong):
        visit.locked.setdefault(name, {})["short"] = entry
    visit.wrong += [line for line in wrong if line not in visit.wrong and " is stale, " not in line]


def shortened(page: Path, folder: Path, wrong: list[str]) -> Iterator[tuple[str, str]]:
    """Run a page's commands as a test does; yield a digest of what hangs on a shortened one or a picture.

    What is wrong without any digest is added to the list: a failure, or another output than the page shows.
    """
    made = [drawn for drawn in pictures(page) if isinstance(drawn, Picture)]
    found = [command for command in _run(page) if not (command.python and command.shown and not command.cut)]
    if not found:
        return
    prepare(page.name, folder)
    hanging = hang_on_short(found)
    for command in found:
        done = run(command.short, folder)
        if complaint := failure(command, done):
            wrong.append(complaint)
        elif command in hanging:
            shown = _again(command, done).lines
            yield command.short, digest("\n".join(shown) if shown else done.stdout)
        else:
            wrong += differences(command, done)
    for drawn in made:
        if drawn.command:
            continue  # what it takes is more than a test has
        if not (folder / drawn.made).exists():
            wrong.append(f"{page.name}:{drawn.line}: nothing made {drawn.made}")
        elif data := lock.of_picture(drawn, folder):
            yield drawn.file.name, data


def differences(command: Command, done: subprocess.CompletedProcess[str]) -> list[str]:
    """Say where a page shows other lines than were printed."""
    now = _again(command, done)
    places = [
        *((at, f"now {new.strip()!r}" if new else "gone") for at, _, new in now.changed),
        *((at, "not printed") for at, _ in now.lost),
    ]
    return [f"{command.page}:{command.at[at]} is stale, {why}: {_remedy(command.page)}" for at, why in sorted(places)]


def stale(page: Path, folder: Path, locked: Mapping[str, Any]) -> list[str]:
    """Say what a page shows that is not what is printed now."""
    wrong: list[str] = []
    places = {command.short: command.line for command in commands(page)}
    places |= {p.file.name: p.line for p in pictures(page) if isinstance(p, Picture)}
    for name, entry in shortened(page, folder, wrong):
        if entry != locked.get(name, {}).get("short"):
            wrong.append(f"{page.name}:{places[name]} is stale ({name.splitlines()[0]}): {_remedy(page.name)}")
    return wrong


def failure(command: Command, done: subprocess.CompletedProcess[str]) -> str:
    """Complain of a command that did not end as the page has it: with its error, or well."""
    expected = 2 if command.shown.startswith("error: ") else 0
    if done.returncode == expected:
        return ""
    return f"{command.page}:{command.line}: {command.text}: exit code {done.returncode}\n{done.stdout}{done.stderr}"


def _run(page: Path) -> list[Command]:
    return [command for command in commands(page) if not command.reason]


def _renew(command: Command, done: subprocess.CompletedProcess[str], lines: list[str], visit: Visit) -> None:
    now = _again(command, done)
    for place, line in zip(command.at, now.lines, strict=True):
        lines[place - 1] = line
    visit.changed += bool(now.changed)
    for at, old, new in now.changed:
        visit.numbers += [(command.at[at], *pair) for pair in changed_numbers(old, new)]
    visit.wrong += [f"{command.page}:{command.at[at]}: no longer printed: {line.strip()}" for at, line in now.lost]


def _again(command: Command, done: subprocess.CompletedProcess[str]) -> Renewed:
    shown, printed = command.shown.splitlines(), done.stdout + done.stderr
    return renewed_tables(shown, command.at, printed) if command.tables else renewed(shown, printed)


def _redraw(page: Path, folder: Path, before: Mapping[str, Any], visit: Visit) -> None:
    """Make the page's pictures, and replace those that show something else."""
    for drawn in pictures(page):
        if isinstance(drawn, str):
            visit.wrong.append(drawn)
            continue
        visit.pictures += 1
        name, entry = drawn.file.name, {}
        if drawn.command:
            done = run(drawn.command, folder)
            if complaint := failure(drawn.command, done):
                visit.wrong.append(complaint)
                continue
            entry["printed"] = done.stdout
        if not (folder / drawn.made).exists():
            visit.wrong.append(f"{page.name}:{drawn.line}: nothing made {drawn.made}")
            continue
        new, known = (folder / drawn.made).read_bytes(), before.get(name, {})
        if data := lock.of_picture(drawn, folder):
            entry["data"] = data
        # Another version of matplotlib draws the same numbers with other bytes.
        same = bool(entry) and all(known.get(key) == value for key, value in entry.items())
        if not same and new != drawn.file.read_bytes():
            drawn.file.write_bytes(new)
            visit.redrawn.append(drawn.file.name)
        visit.locked[name] = entry


def _remedy(page: str) -> str:
    return f"run python docs/refresh.py {page}"
