"""A validation on the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from continuum_sim.validate.assess import ValidationReport
from continuum_sim.validate.report.rows import Grid, grids, verdict


def report_view(report: ValidationReport) -> RenderableType:
    """Lay the report out."""
    parts: list[RenderableType] = []
    for grid in grids(report):
        parts += [_table(grid), ""]
    notes = [*report.notes, *(f"{policy.policy}: {note}" for policy in report.policies for note in policy.notes)]
    parts += [Text(f"note: {note}", style="italic") for note in notes]
    parts.append(Text(verdict(report), style="bold green" if report.passed else "bold red"))
    return Group(*parts)


def _table(grid: Grid) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        title=grid.title,
        title_justify="left",
        title_style="bold",
        caption=grid.note or None,
        caption_justify="left",
    )
    for number, column in enumerate(grid.columns):
        table.add_column(column, justify="right" if number else "left")
    for row in grid.rows:
        table.add_row(*row)
    return table
