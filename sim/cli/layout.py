"""Lay out a view on the terminal: tables of any width, facts, bars and notes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table as Grid
from rich.text import Text

from continuum_sim.cli.tables import StackedTable
from continuum_sim.results.view import Bar, Block, Facts, Marked, Note, Part, Table, View

# Glyphs differ in shade, for terminals without colour.
_GLYPHS: Final = {
    "queue": ("█", "red"),
    "prefill": ("▓", "yellow"),
    "decode": ("▒", "green"),
    "preempted": ("▜", "red"),
    "tool": ("░", "blue"),
    "tool wait": ("▘", "blue"),
    "join": ("▞", "cyan"),
    "reload": ("▚", "magenta"),
    "retry": ("▖", "magenta"),
}
_OTHER: Final = ("▪", "white")
_STYLES: Final = {"good": "green", "bad": "red", "faint": "dim"}
_BAR_CELLS: Final = 60


def lay_out(view: View) -> RenderableType:
    """Lay out the blocks of a view, its notes and its verdict; the command prints title and setting itself."""
    parts: list[RenderableType] = []
    for block in view.blocks:
        parts += ["", *_block(block)]
    if view.notes:
        parts += ["", *map(_note, view.notes)]
    if view.verdict is not None:
        parts += ["", Text(view.verdict, style=f"bold {_STYLES[view.verdict.tone]}")]
    return Group(*parts[1:])


def _block(block: Block) -> Iterator[RenderableType]:
    if isinstance(block, Facts):
        yield _facts(block)
        return
    yield stacked(block)
    if block.note:
        yield Text(block.note, style="dim")


def stacked(table: Table) -> StackedTable:
    """Return a table that adapts to the available width."""
    made = StackedTable(table.columns, table.title)
    for at, row in enumerate(table.rows):
        following = table.rows[at + 1 : at + 2]
        ends = table.groups and bool(following and following[0][0] and not row[0])
        made.add_row(*map(_cell, row), style="bold" if at == table.best else None, ends_section=ends)
    return made


def _cell(cell: str) -> str | Text:
    return Text(cell, style=_STYLES[cell.tone]) if isinstance(cell, Marked) else cell


def _note(note: Note) -> Text:
    about = f" ({note.about})" if note.about else ""
    return Text(f"note{about}: {note.text}", style="italic")


def _facts(facts: Facts) -> Grid:
    grid = Grid.grid(padding=(0, 2))
    grid.add_column(style="bold", overflow="fold")
    grid.add_column(overflow="fold")
    last = facts.rows[-1]
    for row in facts.rows:
        if not isinstance(row, Bar):
            grid.add_row(row.label, row.text)
            continue
        grid.add_row(row.label, _TimeBar(row))
        if row is last or any(part.text for part in row.parts):
            grid.add_row("", _legend(row.parts))
    return grid


class _TimeBar:
    """A bar made of its parts, as long as there is room for."""

    def __init__(self, bar: Bar) -> None:
        self._bar = bar

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw the bar."""
        length = min(_BAR_CELLS, options.max_width) * self._bar.length
        bar = Text()
        drawn = 0
        total = 0.0
        for part in self._bar.parts:
            glyph, colour = _GLYPHS.get(part.name, _OTHER)
            total += part.share
            cells = round(total * length) - drawn
            bar.append(glyph * cells, style=colour)
            drawn += cells
        yield bar

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """Return the least and greatest width of the bar."""
        return Measurement(1, _BAR_CELLS)


def _legend(parts: Sequence[Part]) -> Text:
    """Return the legend of a bar."""
    legend = Text()
    for part in parts:
        glyph, colour = _GLYPHS.get(part.name, _OTHER)
        legend.append(f"{glyph} ", style=colour)
        legend.append(f"{part.name} {part.text}".rstrip() + "   ")
    return legend
