"""What a view is made of: tables, facts, bars and notes, all of them text. How they look is up to who lays them out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

Tone: TypeAlias = Literal["good", "bad", "faint"]
"""What text means beyond its words; a layout may colour it."""


class Marked(str):
    """Text with a tone, for a cell of a table or a line."""

    tone: Tone

    def __new__(cls, text: str, tone: Tone) -> Marked:
        """Mark a text."""
        made = super().__new__(cls, text)
        made.tone = tone
        return made


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table."""

    head: str
    kind: Literal["name", "label", "number", "words"] = "number"
    """A `name` says what a row is about: it is in every part of a table that is parted, and folds where it is long; so
    does a `label`, which is short and stands to the right. A `number` does not fold, unless it is wider than the
    screen. `words` are wrapped."""
    joined: bool = False
    """Whether the column says little without the one before it, and stays beside it while there is room."""

    @property
    def names(self) -> bool:
        """Whether it says what a row is about."""
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
    """Rows of text, a cell a column."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]
    title: str = ""
    note: str = ""
    best: int | None = None
    """Row to bring out."""
    groups: bool = False
    """Whether rows whose first cell is empty belong to the row above, and such groups are set apart."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A sentence under a label."""

    label: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a bar."""

    name: str
    share: float
    """Of the bar, 0 to 1."""
    text: str = ""
    """How much it is, in words; empty where a table beside it says so."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A whole and its parts, to be drawn."""

    label: str
    parts: Sequence[Part]
    length: float = 1.0
    """As a share of the longest bar beside it."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Facts and bars, one below the other."""

    rows: Sequence[Fact | Bar]


@dataclass(frozen=True, slots=True)
class Note:
    """What to know before drawing a conclusion."""

    text: str
    about: str = ""
    """Whom it is about, if not all there is."""


Block: TypeAlias = Table | Facts


@dataclass(frozen=True, slots=True)
class View:
    """A result as it is shown."""

    title: str
    blocks: Sequence[Block]
    notes: Sequence[Note] = ()
    setting: Sequence[str] = ()
    """What was run, in lines; a command that says so itself leaves them out."""
    verdict: Marked | None = None
    """The one line to take away: last on a terminal, first on a page."""
