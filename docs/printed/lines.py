"""Lines that a page shows, found again in what is printed now, and written again.

A page may leave lines out, and columns at the end or the beginning of a table. A line is found by its words, a row of a
table by its labels, in the order of the page.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher

NUMBER = re.compile(r"[−+]?\d[\d,]*(?:\.\d+)?")
UNSTEADY = re.compile(
    r"[\d.,]+ (?:s|ms): [\d.,]+ (?:[kM] )?turns/s"
    r"|[\d.,]+ (?:[kMG] )?bytes|(?<=continuum-sim )\d[\w.+]*|/tmp/\S+"
)
"""What differs between two runs of the same thing: wall times, speeds, sizes of files, versions, places."""
LEADS = re.compile(r"[−+~-]?[\d.]+|–")
"""How the cells of a row begin that are no labels."""
GONE = "\0"
"""In place of a line of a table that is no longer there."""
SAME, SAME_WORDS, SAME_LABEL, SAME_FIRST, ALIKE, RULE = 100.0, 60.0, 50.0, 25.0, 20.0, 10.0
"""How sure it is that a line is the one shown."""


@dataclass(frozen=True)
class Renewed:
    """Shown lines as they should be."""

    lines: list[str]
    changed: list[tuple[int, str, str]] = field(default_factory=list)
    """Place among the lines, what it was, what it is."""
    lost: list[tuple[int, str]] = field(default_factory=list)
    """Place and text of those that nothing printed corresponds to; they stay as they were."""


def masked(text: str) -> str:
    """Leave out what differs between two runs of the same thing."""
    return UNSTEADY.sub("~", text)


def digest(text: str) -> str:
    """Say in a few letters what is printed, but for what differs between two runs and for trailing blanks."""
    steady = "\n".join(line.rstrip() for line in masked(text).splitlines())
    return hashlib.sha256(steady.encode()).hexdigest()[:12]


def numbers(line: str) -> list[str]:
    """Every number of a line, as it stands there."""
    return NUMBER.findall(line)


def renewed(shown: Sequence[str], printed: str) -> Renewed:
    """Find each line shown in what is printed, in that order, and take it from there."""
    now = [line for line in printed.splitlines() if line.strip()]
    found, lines = _pairs(shown, now), list(shown)
    result = Renewed(lines)
    columns: slice | None = None
    for at, line in enumerate(shown):
        if line.strip() in ("", "…"):
            columns = None
            continue
        if at not in found:
            result.lost.append((at, line))
            continue
        new = now[found[at]]
        if not _numeric(line) and len(_cells(line)) > 2:
            columns = _part(_cells(line), _cells(new))
        if line.strip() in new or masked(line).strip() in masked(new):
            continue
        lines[at] = _cut(new, columns if columns and len(_cells(line)) < len(_cells(new)) else None)
        if lines[at] != line:
            result.changed.append((at, line, lines[at]))
    return result


def renewed_tables(shown: Sequence[str], at: Sequence[int], printed: str) -> Renewed:
    """Take each Markdown table from what is printed, whole: rows come, go and change places.

    `at` says which lines follow each other. A table is known by its heads, and where several have the same by their
    order. Rows that came stand in the last line of their table, lines of rows that went are `GONE`.
    """
    now = [table.splitlines() for table in re.findall(r"^\|.*(?:\n\|.*)*", printed, flags=re.MULTILINE)]
    result = Renewed(list(shown))
    begins = [i for i, place in enumerate(at) if i == 0 or place != at[i - 1] + 1]
    for first, end in zip(begins, [*begins[1:], len(shown)], strict=True):
        old = list(shown[first:end])
        new = next((table for table in now if _cells(table[0]) == _cells(old[0])), None)
        if new is None:
            result.lost.append((first, old[0]))
            continue
        now.remove(new)
        kept = new if len(new) <= len(old) else [*new[: len(old) - 1], "\n".join(new[len(old) - 1 :])]
        result.lines[first:end] = kept + [GONE] * (len(old) - len(kept))
        before = {_row_label(row): (i, row) for i, row in enumerate(old, start=first)}
        for row in new:
            place, was = before.pop(_row_label(row), (end - 1, ""))
            if row != was:
                result.changed.append((place, was, row))
        result.changed.extend((place, row, "") for place, row in before.values())
    return result


def changed_numbers(old: str, new: str) -> list[tuple[str, str]]:
    """Numbers of a line that changed; the whole line where it has others than before."""
    before, after = numbers(masked(old)), numbers(masked(new))
    if len(before) != len(after):
        return [(old.strip(), new.strip())]
    return [pair for pair in zip(before, after, strict=True) if pair[0] != pair[1]]


def _pairs(shown: Sequence[str], now: Sequence[str]) -> dict[int, int]:
    """Which line is which: the pairs in order whose likenesses add up to most."""
    best = [[0.0] * (len(now) + 1) for _ in range(len(shown) + 1)]
    like = [[_likeness(line, other) for other in now] for line in shown]
    for i in reversed(range(len(shown))):
        for j in reversed(range(len(now))):
            taken = like[i][j] + best[i + 1][j + 1] if like[i][j] else 0.0
            best[i][j] = max(taken, best[i + 1][j], best[i][j + 1])
    found, i, j = {}, 0, 0
    while i < len(shown) and j < len(now):
        if like[i][j] and best[i][j] == like[i][j] + best[i + 1][j + 1]:
            found[i] = j
            i, j = i + 1, j + 1
        elif best[i][j] == best[i][j + 1]:
            j += 1
        else:
            i += 1
    return found


def _likeness(shown: str, now: str) -> float:
    if shown.strip() in ("", "…"):
        return 0.0
    if masked(shown).strip() in masked(now):
        return SAME if len(shown.strip()) > 3 else RULE
    if set(shown.strip()) <= set("─|- "):
        return RULE if set(now.strip()) <= set("─|- ") else 0.0
    mine, its = _cells(shown), _cells(now)
    label = _label(mine)
    if _words(shown) == _words(now):
        return SAME_WORDS + 15 * (label == _label(its)) + 20 * _same_numbers(shown, now)
    if label and label == _label(its):
        return SAME_LABEL + 5 * (len(mine) == len(its)) + 20 * _same_numbers(shown, now)
    if len(mine) > 1 < len(its) and mine[0] == its[0] and not _numeric(shown) and not _numeric(now):
        return SAME_FIRST
    ratio = SequenceMatcher(None, _words(shown), _words(now), autojunk=False).ratio()
    return ALIKE * ratio if ratio > 0.75 else 0.0


def _cells(line: str) -> list[str]:
    return (
        re.split(r" *\| *", line.strip().strip("|").strip())
        if line.startswith("|")
        else re.split(r" {2,}", line.strip())
    )


def _label(cells: Sequence[str]) -> tuple[str, ...]:
    """Cells before the first number, of a sentence the words before it."""
    label: list[str] = []
    for cell in cells:
        if LEADS.match(cell):
            break
        word = re.split(r"(?<![\w.:=-])[−+~]?\d", cell)[0]
        label.append(word)
        if word != cell:
            break
    return tuple(label)


def _row_label(row: str) -> tuple[str, ...]:
    """The first cell, and others before the first number."""
    first, *others = _cells(row)
    return (first, *_label(others))


def _numeric(line: str) -> bool:
    """Whether it is a row of numbers."""
    return any(LEADS.match(cell) for cell in _cells(line)[1:])


def _words(line: str) -> str:
    """A line without its numbers, its blanks and the lengths of its bars."""
    return re.sub(r"[█▓▒░]+", "█", " ".join(NUMBER.sub("#", line).split()))


def _same_numbers(shown: str, now: str) -> float:
    """Share of numbers that are the same, the first ones counting most: they tell rows apart."""
    before, after = numbers(shown), numbers(now)
    weights = [0.5**place for place in range(min(len(before), len(after)))]
    same = sum(weight for weight, a, b in zip(weights, before, after, strict=False) if a == b)
    return same / sum(weights) if weights else 0.0


def _part(shown: Sequence[str], now: Sequence[str]) -> slice | None:
    """Which columns of a table a page shows, by their heads; None for all, or if they are others than before."""
    for start in range(len(now) - len(shown) + 1):
        if list(now[start : start + len(shown)]) == list(shown):
            return None if len(now) == len(shown) else slice(start, start + len(shown))
    return None


def _cut(line: str, columns: slice | None) -> str:
    """Those columns of a line, at their places."""
    if columns is None:
        return line.rstrip()
    places = [(found.start(), found.end()) for found in re.finditer(r"\S+(?: \S+)*", line)][columns]
    return line[0 if columns.start == 0 else places[0][0] : places[-1][1]]
