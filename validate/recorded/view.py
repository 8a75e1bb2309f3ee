"""The report for the terminal."""

from __future__ import annotations

from collections.abc import Iterator

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from continuum_sim.cli.console import show
from continuum_sim.cli.numbers import seconds
from continuum_sim.results.jsonfile import to_json
from continuum_sim.validate.recorded.report import Metric, RecordedReport
from continuum_sim.validate.recorded.words import error_text, interval_text, run_rows, share_text, verdict_text


def print_recorded(report: RecordedReport, *, json: bool = False) -> int:
    """Print a report to standard output, and return the exit code: 0 within the tolerance, 1 beyond it."""
    if json:
        print(to_json(report), end="")
    else:
        show(recorded_view(report))
    return report.exit_code


def recorded_view(report: RecordedReport) -> RenderableType:
    """Lay a report out."""
    return Group(
        Text("\n".join(_setting(report)) + "\n"),
        _metrics(report.metrics),
        "",
        _run(report),
        "",
        _agreement(report.metrics),
        "",
        Text(verdict_text(report), style="green" if report.passed else "bold red"),
        *(Text(f"note: {note}", style="italic") for note in report.notes),
    )


def _setting(report: RecordedReport) -> Iterator[str]:
    source, engine = report.source, report.engine
    yield (
        f"{source.path} ({source.format}): {source.requests:,} requests, {source.input_tokens:,} prompt and "
        f"{source.output_tokens:,} output tokens"
    )
    for word, items in (("measured", source.measured), ("derived", source.derived), ("missing", source.missing)):
        if items:
            yield f"{word}: {'; '.join(items)}"
    yield "engine: " + ", ".join(f"{name} {one.value} ({one.origin})" for name, one in engine.items())
    yield f"step times: {_step_time(report)}"


def _step_time(report: RecordedReport) -> str:
    said = report.step_time
    provenance = said.get("provenance")
    folder = provenance.get("folder") if isinstance(provenance, dict) else None
    return f"{said.get('kind', 'given')}{f' {folder}' if folder else ''}"


def _metrics(metrics: list[Metric]) -> Table:
    table = _table("seconds", "", *(figure.name for figure in metrics[0].figures))
    for metric in metrics:
        rows = (
            ("recorded", [seconds(one.recorded) for one in metric.figures]),
            ("simulated", [seconds(one.simulated) for one in metric.figures]),
            ("error", [error_text(one) for one in metric.figures]),
            ("95 % interval", [interval_text(one) for one in metric.figures]),
        )
        for number, (side, cells) in enumerate(rows):
            style = "bold" if side == "error" else "dim" if side.startswith("95") else ""
            table.add_row("" if number else metric.title, side, *cells, style=style)
    return table


def _run(report: RecordedReport) -> Table:
    table = _table("the run", "recorded", "simulated", "error")
    for row in run_rows(report):
        table.add_row(*row)
    return table


def _agreement(metrics: list[Metric]) -> Table:
    heads = ("median |error|", "p90 |error|", "within tolerance", "Kendall τ", "distributions apart")
    table = _table("a request", *heads)
    for metric in metrics:
        one = metric.agreement
        table.add_row(
            metric.title,
            share_text(one.median_error),
            share_text(one.p90_error),
            share_text(one.within_tolerance),
            "–" if one.kendall_tau is None else f"{one.kendall_tau:.3f}",
            share_text(one.distribution_error),
        )
    return table


def _table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, justify="right" if name else "left", no_wrap=True)
    return table
