"""The contents of a view, and what each of its layouts shows of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from io import StringIO

from rich.console import Console

from continuum_sim.cli.layout import lay_out
from continuum_sim.results.view import Bar, Facts, Table, View


def squeezed(text: str) -> str:
    """Return a text without blanks, so that it is found however it is wrapped."""
    return "".join(text.split())


def sentences(view: View) -> Iterator[str]:
    """Yield every row, head, fact, part of a bar, note and verdict of a view."""
    for block in view.blocks:
        if isinstance(block, Table):
            yield from (block.title, block.note)
            yield "".join(column.head for column in block.columns)
            yield from map("".join, block.rows)
        else:
            yield from _facts(block)
    for note in view.notes:
        yield from (note.text, note.about)
    yield view.verdict or ""


def _facts(block: Facts) -> Iterator[str]:
    for row in block.rows:
        yield row.label
        if isinstance(row, Bar):
            yield from (f"{part.name} {part.text}" for part in row.parts)
        else:
            yield row.text


def lacking(view: View, shown: str) -> list[str]:
    """Return the parts of a view that are not shown."""
    there = squeezed(shown)
    return [said for said in sentences(view) if squeezed(said) not in there]


def numbers(view: View) -> Iterator[str]:
    """Yield every number in a table of a view."""
    for block in view.blocks:
        if isinstance(block, Table):
            for row in block.rows:
                yield from (cell for cell, column in zip(row, block.columns, strict=True) if column.kind == "number")


def names(view: View) -> Iterator[str]:
    """Yield the first cell of every row in a view's tables."""
    for block in view.blocks:
        if isinstance(block, Table):
            for row in block.rows:
                yield from (cell for cell, column in zip(row, block.columns, strict=True) if column.names)


def on_terminal(view: View, width: int) -> str:
    """Return what a terminal of that width shows of a view."""
    console = Console(width=width, file=StringIO(), markup=False, highlight=False, emoji=False)
    console.print(lay_out(view))
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


class Html(HTMLParser):
    """A piece of HTML as its reader sees it: words, tags, and attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        """(tag, name, value)"""
        self.words: list[str] = []
        self.feed(re.sub(r"<(script|style).*?</\1>", "", html, flags=re.DOTALL))
        self.close()

    @property
    def text(self) -> str:
        """Return all its words."""
        return " ".join(self.words)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag."""
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        """Keep words."""
        self.words.append(data)
