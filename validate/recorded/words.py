"""Numbers of the report in words, for terminal and page alike."""

from __future__ import annotations

from continuum_sim.cli.numbers import seconds
from continuum_sim.validate.recorded.compare import TITLES
from continuum_sim.validate.recorded.report import Figure, RecordedReport

_GAUGES = {"running": "running, mean", "waiting": "waiting, mean", "kv_share": "KV cache in use, mean"}


def error_text(figure: Figure) -> str:
    """Return the error as a signed percentage."""
    return _signed(figure.error)


def interval_text(figure: Figure) -> str:
    """Return the interval of the error."""
    if figure.error_low is None or figure.error_high is None:
        return "–"
    return f"{_signed(figure.error_low)} … {_signed(figure.error_high)}"


def share_text(share: float | None) -> str:
    """Return a share as a percentage."""
    return "–" if share is None else f"{100 * share:.1f} %"


def verdict_text(report: RecordedReport) -> str:
    """Say which means are within the tolerance and which are not."""
    parts = []
    for verdict in report.verdicts:
        word = "within" if verdict.within else "beyond"
        unsure = "" if verdict.settled else ", with an interval on both sides of it"
        parts.append(f"{TITLES[verdict.metric]} {_signed(verdict.error)} ({word}{unsure})")
    return f"mean error against a tolerance of ±{100 * report.tolerance:g} %: {'; '.join(parts)}"


def run_rows(report: RecordedReport) -> list[tuple[str, str, str, str]]:
    """Name, recorded, simulated and error of the numbers of the run as a whole."""
    titles = {
        "duration_s": "first arrival to last token (s)",
        "requests_per_s": "requests/s",
        "output_tokens_per_s": "output tokens/s",
    }
    rows = [(titles[one.name], seconds(one.recorded), seconds(one.simulated), error_text(one)) for one in report.run]
    counted = "–" if report.recorded_preemptions is None else f"{report.recorded_preemptions:,}"
    rows.append(("preemptions", counted, f"{report.simulated_preemptions:,}", ""))
    for gauge in report.gauges.gauges if report.gauges else ():
        show = share_text if gauge.name == "kv_share" else lambda value: f"{value:.1f}"
        rows.append(
            (
                _GAUGES[gauge.name],
                show(gauge.recorded_mean),
                show(gauge.simulated_mean),
                f"{show(gauge.mean_distance)} apart",
            )
        )
    return rows


def _signed(share: float | None) -> str:
    if share is None:
        return "–"
    text = f"{100 * share:+.1f} %".replace("-", "−")
    return text if text.strip("+−") != "0.0 %" else "0.0 %"
