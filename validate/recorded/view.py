"""The report for the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from continuum_sim.cli.console import show
from continuum_sim.results.jsonfile import to_json
from continuum_sim.validate.recorded.report import RecordedReport
from continuum_sim.validate.recorded.rows import grids, setting, verdict
from continuum_sim.validate.report.rows import Grid


def print_recorded(report: RecordedReport, *, json: bool = False) -> int:
    """Print a report to standard output, and return the exit code: 0 within the tolerance, 1 beyond it."""
    if json:
        print(to_json(report), end="")
    else:
        show(recorded_view(report))
    return report.exit_code


def recorded_view(report: RecordedReport) -> RenderableType:
    """Lay a report out."""
    parts: list[RenderableType] = [Text("\n".join(setting(report))), ""]
    for grid in grids(report):
        parts += [_table(grid), ""]
    parts += [Text(f"note: {note}", style="italic") for note in report.notes]
    parts.append(Text(verdict(report), style="bold green" if report.passed else "bold red"))
    return Group(*parts)


def _table(grid: Grid) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, title=grid.title, title_justify="left")
    table.title_style = "bold"
    table.caption, table.caption_justify = grid.note or None, "left"
    for number, column in enumerate(grid.columns):
        table.add_column(column, justify="right" if number and column else "left")
    for number, row in enumerate(grid.rows):
        following = grid.rows[number + 1 : number + 2]
        # A blank line where a block of rows under one name ends.
        ends = bool(following and following[0][0] and not row[0])
        table.add_row(*row, end_section=ends)
    return table
