"""Tables that lose nothing on a narrow terminal: columns that do not fit next to the others go into a table below."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from continuum_sim.results.view import Column
from continuum_sim.traces.printable import printable

Cell = str | Text

_LEAST: Final = {"name": 16, "words": 24}
"""Least width of a column that may wrap, unless it needs less."""


@dataclass
class StackedTable:
    """A table that adapts to the available width: one table, or several that all begin with the columns of names."""

    columns: Sequence[Column]
    title: str = ""
    heads: bool = True
    """Whether the columns' heads are shown."""
    _rows: list[tuple[list[Text], str | None, bool]] = field(default_factory=list)

    def add_row(self, *cells: Cell, style: str | None = None, ends_section: bool = False) -> None:
        """Add a row; its text is shown literally, on one line if it fits."""
        made = [cell if isinstance(cell, Text) else Text(printable(cell)) for cell in cells]
        self._rows.append((made, style, ends_section))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Lay the table out."""
        width = options.max_width
        whole = self._with_one_name(width)
        groups = list(whole._groups(width))
        if self.title:
            yield Text(printable(self.title), style="bold")  # a rich table's own title would wrap at the table's width
        for place, group in enumerate(groups):
            if place:
                yield ""
            yield whole._table(group, width, first=not place)

    def _with_one_name(self, width: int) -> StackedTable:
        """Merge several columns of names into one if they leave no room for the widest number."""
        names = [at for at, column in enumerate(self.columns) if column.names]
        others = [at for at, column in enumerate(self.columns) if not column.names]
        widest = max((self._least(at) for at in others), default=0)
        if (
            len(names) < 2
            or self._width([*names, *others]) <= width
            or self._width(names) + self._gap + widest <= width
        ):
            return self
        one = Column(", ".join(self.columns[at].head for at in names), "name")
        made = StackedTable([one, *(self.columns[at] for at in others)], self.title, self.heads)
        for cells, style, ends in self._rows:
            said = Text(", ").join(cells[at] for at in names if cells[at].plain)
            made._rows.append(([said, *(cells[at] for at in others)], style, ends))
        return made

    def _groups(self, width: int) -> Iterator[list[int]]:
        """Yield the columns of each part, filling the width."""
        names = [at for at, column in enumerate(self.columns) if column.names]
        group: list[int] = []
        for block in self._blocks(width - self._width(names) - self._gap):
            if group and self._width([*names, *group, *block]) > width:
                yield sorted([*names, *group])
                group = []
            group += block
        yield sorted([*names, *group])

    def _blocks(self, room: int) -> list[list[int]]:
        """Return groups of columns that stay together while there is room for them."""
        blocks: list[list[int]] = []
        for at, column in enumerate(self.columns):
            if column.names:
                continue
            if column.joined and blocks and self._width([*blocks[-1], at]) <= room:
                blocks[-1].append(at)
            else:
                blocks.append([at])
        return blocks

    def _width(self, columns: Sequence[int]) -> int:
        return sum(map(self._least, columns)) + self._gap * (len(columns) - 1)

    @property
    def _gap(self) -> int:
        """Spaces between columns; one more with heads, whose rule needs it."""
        return 3 if self.heads else 2

    def _least(self, at: int) -> int:
        """Return the least width of a column, in characters."""
        column = self.columns[at]
        cells = (cell.plain for cells, _, _ in self._rows for cell in (cells[at],))
        heads = [column.head] if self.heads else []
        widest = max(map(cell_len, [*heads, *cells]), default=0)
        return min(widest, _LEAST.get(column.kind, widest))

    def _table(self, columns: Sequence[int], width: int, *, first: bool) -> Table:
        names = [at for at in columns if self.columns[at].names]
        table = Table(
            box=box.SIMPLE_HEAD if self.heads else None,
            show_header=self.heads,
            pad_edge=False,
            show_edge=False,
        )
        for at in columns:
            column = self.columns[at]
            table.add_column(
                Text(printable(column.head)),
                justify="right" if column.kind in ("number", "label") else "left",
                overflow="fold",
                no_wrap=column.kind in ("number", "label") and self._width([*names, at]) <= width,
            )
        for cells, style, ends_section in self._rows:
            table.add_row(*(cells[at] for at in columns), style=style, end_section=ends_section)
        return table
