"""The parts of a view: tables, facts, bars and notes, all of them text. The layouts decide how they look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Tone: TypeAlias = Literal["good", "bad", "faint"]
"""Meaning of a text beyond its words; a layout may colour it."""


class Marked(str):
    """Text with a tone, for a cell of a table or a line."""

    tone: Tone

    def __new__(cls, text: str, tone: Tone) -> Marked:
        """Give a text a tone."""
        made = super().__new__(cls, text)
        made.tone = tone
        return made


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    head: str
    kind: Literal["name", "label", "number", "words"] = "number"
    """A `name` says what a row is about: it is repeated in every part of a table that is split, and wraps if it is
    long. So is a `label`, which is short and right-aligned. A `number` does not wrap unless it is wider than the
    screen. `words` are wrapped."""
    joined: bool = False
    """Whether the column means little without the one before it, and stays beside it while there is room."""

    @property
    def names(self) -> bool:
        """Whether the column says what a row is about."""
        return self.kind in ("name", "label")


def name(head: str) -> Column:
    """Return a column that says what its row is about."""
    return Column(head, "name")


def label(head: str) -> Column:
    """Return a short column that says what its row is about, beside the name."""
    return Column(head, "label")


def words(head: str) -> Column:
    """Return a column of text."""
    return Column(head, "words")


def numbers(*heads: str) -> list[Column]:
    """Return columns of numbers."""
    return [Column(head) for head in heads]


def joined(*heads: str) -> list[Column]:
    """Return columns of numbers that belong to the one before them."""
    return [Column(head, joined=True) for head in heads]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text, one cell per column."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    best: int | None = None
    """Row to highlight."""
    groups: bool = False
    """Whether rows with an empty first cell belong to the row above; such groups are set apart."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence under a label."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """A segment of a bar."""

    name: str
    share: float
    """Share of the bar, 0 to 1."""
    text: str = ""
    """The amount, as text; empty if a table beside the bar has it."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A whole and its parts, drawn as a bar."""

    label: str
    parts: Sequence[Part]
    length: float = 1.0
    """Length as a share of the longest bar in the group."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts and bars, one below the other."""

    rows: Sequence[Fact | Bar]


@dataclass(frozen=True, slots=True)
class Note:
    """Something to know before drawing a conclusion."""

    text: str
    about: str = ""
    """What the note is about, if not the whole result."""


Block: TypeAlias = Table | Facts


@dataclass(frozen=True, slots=True)
class View:
    """A result as rows of text."""

    title: str
    blocks: Sequence[Block]
    notes: Sequence[Note] = ()
    setting: Sequence[str] = ()
    """Lines that say what was run; commands that print this themselves leave them out."""
    verdict: Marked | None = None
    """The main finding in one line: last on a terminal, first on a page."""
