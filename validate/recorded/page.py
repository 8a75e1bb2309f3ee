"""The report as one HTML file, pictures inside."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from continuum_sim.cli.numbers import seconds
from continuum_sim.validate.recorded.report import Figure, RecordedReport
from continuum_sim.validate.recorded.words import error_text, interval_text, run_rows, share_text, verdict_text

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .7rem;text-align:right}"
    "th:first-child,td:first-child,td.text{text-align:left}tr:nth-child(even){background:#f5f5f5}"
    "th{border-bottom:1px solid #888}img{max-width:100%}.pass{color:#00694e}.miss{color:#a33c00}"
)


def make_page(report: RecordedReport, pictures: Iterable[Path]) -> str:
    """Return the page."""
    source = report.source
    verdict = "pass" if report.passed else "miss"
    settings = [(name, str(setting.value), setting.origin) for name, setting in report.engine.items()]
    parts = [
        f"<h1>{escape(Path(source.path).name)}: simulated against recorded</h1>",
        f'<p class="{verdict}"><b>{escape(verdict_text(report))}</b></p>',
        f"<p>{source.requests:,} requests, {source.input_tokens:,} prompt and {source.output_tokens:,} output tokens; "
        f"{report.simulated_steps:,} steps simulated in {seconds(report.wall_s)} s.</p>",
        _metrics(report),
        _table(("", "recorded", "simulated", "error"), run_rows(report)),
        *(_picture(path) for path in pictures),
        _agreement(report),
        "<h2>What was measured</h2>",
        _list(
            [f"measured: {text}" for text in source.measured]
            + [f"derived: {text}" for text in source.derived]
            + [f"missing: {text}" for text in source.missing]
        ),
        "<h2>Simulated engine</h2>",
        _table(("setting", "value", "from"), settings),
        "<h2>Notes</h2>" + _list(report.notes) if report.notes else "",
        f"<p>{escape(source.path)}, sha256 {source.sha256}</p>",
    ]
    head = f'<meta charset="utf-8"><title>{escape(Path(source.path).name)}</title><style>{_STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _metrics(report: RecordedReport) -> str:
    names = [figure.name for figure in report.metrics[0].figures]
    rows: list[Sequence[str]] = []
    for metric in report.metrics:
        for title, show in (
            ("recorded (s)", lambda figure: seconds(figure.recorded)),
            ("simulated (s)", lambda figure: seconds(figure.simulated)),
            ("error", error_text),
            ("95 % interval", interval_text),
        ):
            rows.append((f"{metric.title}, {title}", *_cells(metric.figures, show)))
    return _table(("", *names), rows)


def _cells(figures: Iterable[Figure], show: object) -> list[str]:
    assert callable(show)
    return [str(show(figure)) for figure in figures]


def _agreement(report: RecordedReport) -> str:
    rows = [
        (
            metric.title,
            share_text(metric.agreement.median_error),
            share_text(metric.agreement.p90_error),
            share_text(metric.agreement.within_tolerance),
            "–" if metric.agreement.kendall_tau is None else f"{metric.agreement.kendall_tau:.3f}",
            share_text(metric.agreement.distribution_error),
        )
        for metric in report.metrics
    ]
    head = ("a request", "median |error|", "p90 |error|", "within tolerance", "Kendall τ", "distributions apart")
    return "<h2>Request by request</h2>" + _table(head, rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return "<table><tr>" + "".join(f"<th>{escape(cell)}</th>" for cell in head) + f"</tr>{body}</table>"


def _list(items: Iterable[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _picture(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode("ascii")
    return f'<p><img alt="{escape(path.stem)}" src="data:image/png;base64,{data}"></p>'
