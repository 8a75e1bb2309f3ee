"""A validation on the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from continuum_sim.cli.tables import Column, StackedTable, name
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


def _table(grid: Grid) -> StackedTable:
    """Lay a table out; "JCT" and the like say what a row is about, as the policy does."""
    columns = [Column(head, "label" if head == "JCT" else "number") for head in grid.columns[1:]]
    table = StackedTable([name(grid.columns[0]), *columns], grid.title, grid.note)
    for row in grid.rows:
        table.add_row(*row)
    return table
