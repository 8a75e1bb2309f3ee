"""The report for the terminal."""

from __future__ import annotations

from continuum_sim.cli.console import show
from continuum_sim.cli.layout import lay_out
from continuum_sim.results.jsonfile import to_json
from continuum_sim.validate.recorded.report import BacktestReport


def print_backtest(report: BacktestReport, *, json: bool = False) -> int:
    """Print a report to standard output, and return the exit code: 0 within the tolerance, 1 beyond it."""
    if json:
        print(to_json(report), end="")
    else:
        view = report.view()
        show("\n".join(view.setting), "", lay_out(view))
    return report.exit_code
