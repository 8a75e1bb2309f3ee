"""Turn a backtest's report into rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from continuum_sim.results.numbers import seconds
from continuum_sim.results.view import Marked, Note, Table, View
from continuum_sim.validate.report.rows import signed_percent, table

if TYPE_CHECKING:
    from continuum_sim.validate.recorded.report import BacktestReport, Figure, Gauges

_RUN = {
    "duration_s": "first arrival to last token (s)",
    "requests_per_s": "requests/s",
    "output_tokens_per_s": "output tokens/s",
}
_GAUGES = {"running": "running, mean", "waiting": "waiting, mean", "kv_share": "KV cache in use, mean"}
_UNKNOWN = "–"


def backtest_view(report: BacktestReport) -> View:
    """Return the report's view: how well the simulation matches the recording."""
    return View(
        title=f"Backtest of {Path(report.source.path).name}: simulated against recorded",
        blocks=[_metrics(report), _run(report), _agreement(report)],
        notes=[Note(note) for note in report.notes],
        setting=list(_setting(report)),
        verdict=Marked(_verdict(report), "good" if report.passed else "bad"),
    )


def _verdict(report: BacktestReport) -> str:
    """Say which means are within the tolerance and which are not."""
    titles = {metric.name: metric.title for metric in report.metrics}
    parts = []
    for one in report.verdicts:
        word = "within" if one.within else "beyond"
        unsure = "" if one.settled else ", as single requests decide"
        parts.append(f"{titles[one.metric]} {signed_percent(one.error)} ({word}{unsure})")
    return f"mean errors against a tolerance of ±{100 * report.tolerance:g} %: {'; '.join(parts)}"


def _setting(report: BacktestReport) -> Iterator[str]:
    """Yield lines that say what was compared with what."""
    source = report.source
    yield (
        f"{source.path} ({source.format}): {source.requests:,} requests, {source.input_tokens:,} prompt and "
        f"{source.output_tokens:,} output tokens"
    )
    for word, items in (("measured", source.measured), ("derived", source.derived), ("missing", source.missing)):
        if items:
            yield f"{word}: {'; '.join(items)}"
    yield "engine: " + ", ".join(f"{name} {one.value} ({one.origin})" for name, one in report.engine.items())
    provenance = report.step_time.get("provenance")
    folder = provenance.get("folder") if isinstance(provenance, dict) else None
    yield f"step times: {report.step_time.get('kind', 'given')}{f' {folder}' if folder else ''}"


def _metrics(report: BacktestReport) -> Table:
    rows = []
    for metric in report.metrics:
        figures = metric.figures
        rows += [
            [metric.title, "recorded", *(seconds(one.recorded) for one in figures)],
            ["", "simulated", *(seconds(one.simulated) for one in figures)],
            ["", "error", *(_percent(one.error) for one in figures)],
            ["", "resampled", *map(_resampled, figures)],
        ]
    columns = ("seconds", "", *(figure.name for figure in report.metrics[0].figures))
    note = (
        "resampled: 95 % of the errors if requests of this log are drawn anew: how much hangs on single ones; "
        "no interval for another log"
    )
    return table("Requests", columns, rows, note)


def _run(report: BacktestReport) -> Table:
    rows = [
        [_RUN[one.name], seconds(one.recorded), seconds(one.simulated), _percent(one.error), ""] for one in report.run
    ]
    recorded = _UNKNOWN if report.recorded_preemptions is None else f"{report.recorded_preemptions:,}"
    rows.append(["preemptions", recorded, f"{report.simulated_preemptions:,}", "", ""])
    note = ""
    if report.gauges is not None:
        rows += _gauges(report.gauges)
        note = f"apart: mean distance of the two at the {report.gauges.rows} recorded times"
    return table("The run as a whole", ("", "recorded", "simulated", "error", "apart"), rows, note)


def _gauges(gauges: Gauges) -> Iterator[list[str]]:
    for one in gauges.gauges:
        values = (one.recorded_mean, one.simulated_mean, one.mean_distance)
        share = one.name == "kv_share"
        recorded, simulated, apart = (f"{100 * value:.1f} %" if share else f"{value:.1f}" for value in values)
        yield [_GAUGES[one.name], recorded, simulated, "", apart]


def _agreement(report: BacktestReport) -> Table:
    rows = []
    for metric in report.metrics:
        one = metric.agreement
        tau = _UNKNOWN if one.kendall_tau is None else f"{one.kendall_tau:.3f}".replace("-", "−")
        shares = (one.median_error, one.p90_error, one.within_tolerance)
        rows.append([metric.title, *map(_share, shares), tau, _share(one.distribution_error)])
    columns = ("", "median |error|", "p90 |error|", "within tolerance", "Kendall τ", "distributions apart")
    note = "distributions apart: mean distance of the k-th smallest of both sides, as a share of the recorded mean"
    return table("Request by request", columns, rows, note)


def _percent(error: float | None) -> str:
    return _UNKNOWN if error is None else signed_percent(error)


def _resampled(figure: Figure) -> str:
    if figure.error_low is None or figure.error_high is None:
        return _UNKNOWN
    return f"{signed_percent(figure.error_low)} … {signed_percent(figure.error_high)}"


def _share(share: float | None) -> str:
    return _UNKNOWN if share is None else f"{100 * share:.1f} %"
