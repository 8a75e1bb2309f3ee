"""The report for the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from continuum_sim.cli.console import show
from continuum_sim.cli.tables import Column, StackedTable, name
from continuum_sim.results.jsonfile import to_json
from continuum_sim.validate.recorded.report import BacktestReport
from continuum_sim.validate.recorded.rows import grids, setting, verdict
from continuum_sim.validate.report.rows import Grid


def print_backtest(report: BacktestReport, *, json: bool = False) -> int:
    """Print a report to standard output, and return the exit code: 0 within the tolerance, 1 beyond it."""
    if json:
        print(to_json(report), end="")
    else:
        show(backtest_view(report))
    return report.exit_code


def backtest_view(report: BacktestReport) -> RenderableType:
    """Lay a report out."""
    parts: list[RenderableType] = [Text("\n".join(setting(report))), ""]
    for grid in grids(report):
        parts += [_table(grid), ""]
    parts += [Text(f"note: {note}", style="italic") for note in report.notes]
    parts.append(Text(verdict(report), style="bold green" if report.passed else "bold red"))
    return Group(*parts)


def _table(grid: Grid) -> StackedTable:
    columns = [Column(head, "number" if head else "name") for head in grid.columns[1:]]
    table = StackedTable([name(grid.columns[0]), *columns], grid.title, grid.note)
    for number, row in enumerate(grid.rows):
        following = grid.rows[number + 1 : number + 2]
        # A blank line where a block of rows under one name ends.
        table.add_row(*row, ends_section=bool(following and following[0][0] and not row[0]))
    return table
